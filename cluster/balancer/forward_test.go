package balancer_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/skiffcluster/skiff/cluster/balancer"
)

// entrance is where connections are passed on, until the test ends.
func entrance(t *testing.T, b *balancer.Balancer) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Forward(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ends with %v", err)
		}
	})
	return l.Addr().String()
}

// client goes by the entrance, with TLS that is between it and the server.
func (c *cast) client(t *testing.T, at string) *http.Client {
	t.Helper()
	config := c.trusted.Clone()
	config.ServerName = "kubernetes"
	transport := &http.Transport{TLSClientConfig: config, DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, at)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func get(t *testing.T, h *http.Client) (string, error) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://kubernetes/who", nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := h.Do(r)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	raw, err := io.ReadAll(answer.Body)
	return string(raw), err
}

func TestConnectionsArePassedOnToAServerThatAnswers(t *testing.T) {
	c := newCast(t, "a", "b")
	b, err := balancer.New(c.order, c.trusted)
	if err != nil {
		t.Fatal(err)
	}
	h := c.client(t, entrance(t, b))
	if got, err := get(t, h); got != "a" || err != nil {
		t.Errorf("%q answers, %v; want a", got, err)
	}
	c.names["a"].CloseClientConnections()
	c.names["a"].Close()
	eventually(t, "b answers when a is gone", func() bool {
		got, err := get(t, h)
		return got == "b" && err == nil
	})
	c.names["b"].CloseClientConnections()
	c.names["b"].Close()
	eventually(t, "a client learns that nobody answers", func() bool {
		_, err := get(t, h)
		return err != nil
	})
}

// A server that is cut off from the others still takes connections, and watches
// on it would tell nothing for good.
func TestConnectionsEndWithTheServerThatIsDropped(t *testing.T) {
	c := newCast(t, "a", "b")
	b, err := balancer.New(c.order, c.trusted)
	if err != nil {
		t.Fatal(err)
	}
	at := entrance(t, b)
	config := c.trusted.Clone()
	config.ServerName = "kubernetes"
	conn, err := tls.Dial("tcp", at, config) // a has answered then
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b.Drop()
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a connection to the one that was dropped goes on: %v", err)
	}
	h := c.client(t, at)
	if got, err := get(t, h); got != "b" || err != nil {
		t.Errorf("%q answers, %v; want b", got, err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so", what)
		}
	}
}
