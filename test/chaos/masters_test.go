package chaos_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster"
)

// master is one, on an address of its own.
type master struct {
	name, dir, peer string
	port            string
	process         *exec.Cmd
	ended           chan struct{}
	paused          bool
}

func (m *master) url() string { return "https://127.0.0.1:" + m.port }

// masters are all.
type masters struct {
	all   []*master
	token string // by which one whose disk was removed joins again
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// startMasters starts n, of which the others join the first.
func startMasters(t *testing.T, n int) *masters {
	t.Helper()
	c := &masters{}
	for i := range n {
		m := &master{name: fmt.Sprintf("m%d", i), port: freePort(t), peer: "127.0.0.1:" + freePort(t)}
		m.dir = filepath.Join(t.TempDir(), m.name)
		c.all = append(c.all, m)
		m.start(t, c.joining(m))
		c.ready(t, m)
		if i == 0 {
			c.makeToken(t)
		}
	}
	return c
}

// joining is how a master without data becomes one.
func (c *masters) joining(m *master) []string {
	for _, other := range c.all {
		if other != m && other.process != nil && !other.paused {
			return []string{"--join", other.url(), "--token", c.token}
		}
	}
	return nil
}

func (c *masters) makeToken(t *testing.T) {
	t.Helper()
	access := c.access(t, c.all[0])
	k, err := kubernetes.NewForConfig(access.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	token, err := cluster.NewToken(t.Context(), k, access.CA, true, 0, "chaos")
	if err != nil {
		t.Fatal(err)
	}
	c.token = token.String()
}

func (c *masters) access(t *testing.T, m *master) cluster.Access {
	t.Helper()
	a, err := cluster.ReadAccess(m.dir, m.url())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (m *master) start(t *testing.T, more []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{
		"server", "--profile", m.name, "--data-dir", m.dir, "--bind-address", "127.0.0.1", "--secure-port", m.port, "--etcd-peer-address", m.peer,
	}, more...)
	m.process = exec.Command(self, args...)
	m.process.Env = append(os.Environ(), asSkiff+"=1", "GOMAXPROCS=2")
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := os.MkdirAll(filepath.Dir(m.dir), 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := os.OpenFile(m.dir+".log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	m.process.Stdout, m.process.Stderr = log, log
	if err := m.process.Start(); err != nil {
		t.Fatal(err)
	}
	p, ended := m.process, make(chan struct{})
	m.ended = ended
	go func() {
		defer close(ended)
		_ = p.Wait()
		_ = log.Close()
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-ended
		if t.Failed() {
			raw, _ := os.ReadFile(m.dir + ".log")
			lines := bytes.Split(bytes.TrimSpace(raw), []byte("\n"))
			t.Logf("%s said last:\n%s", m.name, bytes.Join(lines[max(0, len(lines)-15):], []byte("\n")))
		}
	})
}

// kill ends a master as a loss of power does.
func (m *master) kill() {
	_ = m.process.Process.Kill()
	<-m.ended
	m.process = nil
}

// ready waits until a master answers and has a vote.
func (c *masters) ready(t *testing.T, m *master) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := c.isReady(ctx, m)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", m.name, err)
		case <-m.ended:
			t.Fatalf("%s ended", m.name)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (c *masters) isReady(ctx context.Context, m *master) error {
	a, err := cluster.ReadAccess(m.dir, m.url())
	if err != nil {
		return err
	}
	r := a.RESTConfig()
	r.Timeout = 2 * time.Second
	h, err := restclient.HTTPClientFor(r)
	if err != nil {
		return err
	}
	defer h.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.url()+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := h.Do(req)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return errors.New(answer.Status)
	}
	return nil
}

// servers are the addresses of all, another one first for each client.
func (c *masters) servers(client int) []string {
	var out []string
	for i := range c.all {
		out = append(out, strings.TrimPrefix(c.all[(client+i)%len(c.all)].url(), "https://"))
	}
	return out
}
