package balancer_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster/balancer"
)

// link is a way to a server that can be cut, as by a switch without power:
// nobody is told.
type link struct {
	listener net.Listener
	isCut    atomic.Bool
}

func newLink(t *testing.T, server string) *link {
	t.Helper()
	to, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	l := &link{}
	if l.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.listener.Close() })
	go func() {
		for {
			client, err := l.listener.Accept()
			if err != nil {
				return
			}
			conn, err := net.Dial("tcp", to.Host)
			if err != nil {
				client.Close()
				continue
			}
			t.Cleanup(func() { client.Close(); conn.Close() })
			go l.pass(client, conn)
			go l.pass(conn, client)
		}
	}()
	return l
}

func (l *link) pass(to, from net.Conn) {
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			to.Close()
			return
		}
		if l.isCut.Load() {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestAReadIsAskedOfTheNextServerWhenTheConnectionIsLost(t *testing.T) {
	for _, c := range []struct {
		name, method string
		body         io.Reader
		want         string
	}{
		{"what only reads", http.MethodGet, nil, "b"},
		{"what may have been done already is left to who asked", http.MethodPost, strings.NewReader("once"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cast := newCast(t, "a", "b")
			l := newLink(t, cast.order[0])
			b, err := balancer.New([]string{l.listener.Addr().String(), cast.order[1]}, cast.trusted)
			if err != nil {
				t.Fatal(err)
			}
			defer b.Reconnect()
			answers(t, b, "a")
			l.isCut.Store(true)
			h, err := restclient.HTTPClientFor(b.RESTConfig(""))
			if err != nil {
				t.Fatal(err)
			}
			r, err := http.NewRequestWithContext(t.Context(), c.method, "https://kubernetes/who", c.body)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			answer, err := h.Do(r)
			if err == nil {
				defer answer.Body.Close()
				raw, _ := io.ReadAll(answer.Body)
				got = string(raw)
			}
			if got != c.want {
				t.Errorf("%q answers, %v; want %q", got, err, c.want)
			}
		})
	}
}
