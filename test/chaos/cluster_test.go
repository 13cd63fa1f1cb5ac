package chaos_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/balancer"
	"github.com/skiffcluster/skiff/test/namespaces"
)

// The cluster is what `skiff up --nodes 3 --masters 3` makes: masters and workers
// have a process and a host each, and `skiff up` starts what dies, as a machine
// does when its power is back.
const (
	profile  = "chaos"
	entrance = "7443" // port where `skiff up` takes connections for the masters
)

// master is one of three.
type master struct {
	index     int
	name      string
	host      string // name of its own
	api, peer string // host:port
}

func (m *master) url() string { return "https://" + m.api }

// skiffCluster is all of it.
type skiffCluster struct {
	dir     string
	up      *exec.Cmd
	ended   chan struct{}
	masters []*master
	workers []*worker
	hostsID string // in the names of what belongs to its hosts
	access  cluster.Access
}

// worker is a node on a host of its own.
type worker struct {
	name string
	host
}

// asSelf is a command line of skiff's.
func asSelf(args ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", args...)
	c.Env = append(os.Environ(), asSkiff+"=1", "GOMAXPROCS=2", "HOME="+os.Getenv(workDir), "KUBECONFIG=")
	return c
}

// start runs `skiff up` until the test ends.
func start(t testing.TB, more ...string) *skiffCluster {
	t.Helper()
	if lacking != "" {
		t.Skip(lacking)
	}
	dir, err := os.MkdirTemp(os.Getenv(workDir), "c") //nolint:usetesting // short: sockets are below it
	if err != nil {
		t.Fatal(err)
	}
	c := &skiffCluster{dir: filepath.Join(dir, profile), ended: make(chan struct{})}
	args := append([]string{
		"up", "--profile", profile, "--data-dir", c.dir, "--kubeconfig", c.dir + ".conf", "--masters", "3", "--nodes", "3", "--secure-port", entrance,
		"--bin-dir", namespaces.Bin(),
	}, more...)
	c.up = asSelf(args...)
	out, err := os.Create(c.dir + ".out")
	if err != nil {
		t.Fatal(err)
	}
	c.up.Stdout, c.up.Stderr = out, out
	c.up.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	begin := time.Now()
	if err := c.up.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ended)
		_ = c.up.Wait()
		_ = out.Close()
	}()
	t.Cleanup(func() { c.stop(t) })
	eventually(t, "skiff up is ready", func(context.Context) error {
		select {
		case <-c.ended:
			t.Fatalf("skiff up ended: %s", tail(out.Name(), 20))
		default:
		}
		raw, err := os.ReadFile(out.Name())
		if err == nil && !bytes.Contains(raw, []byte("Ready in ")) {
			err = fmt.Errorf("it says: %s", raw)
		}
		return err
	})
	t.Logf("skiff up is ready after %d ms", time.Since(begin).Milliseconds())
	c.find(t)
	return c
}

func (c *skiffCluster) stop(t testing.TB) {
	begin := time.Now()
	_ = c.up.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		t.Error("skiff up does not end")
		_ = c.up.Process.Kill()
		<-c.ended
	}
	t.Logf("skiff up ended within %d ms", time.Since(begin).Milliseconds())
	if t.Failed() {
		for _, file := range []string{c.dir + ".out", filepath.Join(c.dir, "skiff.log"), c.dir + "/masters/0.log", c.dir + "/masters/1.log", c.dir + "/masters/2.log"} {
			t.Logf("%s ends with:\n%s", file, tail(file, 15))
		}
		for _, w := range c.workers {
			t.Logf("log of %s ends with:\n%s", w.name, tail(c.nodeFile(w, "node.log"), 15))
		}
	}
	if out, err := asSelf("delete", "--profile", profile, "--data-dir", c.dir, "--kubeconfig", c.dir+".conf").CombinedOutput(); err != nil {
		t.Errorf("skiff delete: %v\n%s", err, out)
	}
}

func tail(file string, n int) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// find reads where everything is.
func (c *skiffCluster) find(t testing.TB) {
	t.Helper()
	read := func(file string, into any) {
		raw, err := os.ReadFile(filepath.Join(c.dir, file))
		if err == nil {
			err = json.Unmarshal(raw, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var seats []struct {
		Peer, Host string
		Port       int
	}
	read("masters.json", &seats)
	for i, s := range seats {
		m := &master{index: i, name: fmt.Sprintf("master %d", i), host: s.Host, peer: s.Peer}
		address, _, err := net.SplitHostPort(s.Peer)
		if err != nil {
			t.Fatal(err)
		}
		m.api = net.JoinHostPort(address, strconv.Itoa(s.Port))
		c.masters = append(c.masters, m)
	}
	var err error
	if c.access, err = cluster.ReadAccess(c.dir, c.masters[0].url()); err != nil {
		t.Fatal(err)
	}
	if !cluster.HasHosts(c.dir) {
		return
	}
	var hosts struct{ ID string }
	read("hosts.json", &hosts)
	c.hostsID = hosts.ID
	for i := range 3 {
		name := fmt.Sprintf("%s-%d", profile, i)
		c.workers = append(c.workers, &worker{name, c.host(name)})
	}
}

func (c *skiffCluster) nodeFile(w *worker, name string) string {
	return filepath.Join(c.dir, "nodes", w.name, "host", name)
}

func (c *skiffCluster) masterDir(m *master) string {
	return filepath.Join(c.dir, "masters", strconv.Itoa(m.index))
}

// way is how a client reaches the masters: another one first for each.
func (c *skiffCluster) way(t testing.TB, client int) (*balancer.Balancer, kubernetes.Interface) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.access.CA)
	pair, err := tls.X509KeyPair(c.access.ClientCert, c.access.ClientKey)
	if err != nil {
		t.Fatal(err)
	}
	b, err := balancer.New(c.servers(client), &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := kubernetes.NewForConfig(b.RESTConfig(""))
	if err != nil {
		t.Fatal(err)
	}
	return b, k
}

func (c *skiffCluster) servers(client int) []string {
	var out []string
	for i := range c.masters {
		out = append(out, c.masters[(client+i)%len(c.masters)].api)
	}
	return out
}

// isReady says why a master does not serve or has no vote.
func (c *skiffCluster) isReady(ctx context.Context, m *master) error {
	r := c.access.RESTConfig()
	r.Host, r.ServerName, r.Timeout = m.url(), "kubernetes", 2*time.Second
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
		return fmt.Errorf("%s: %w", m.name, err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", m.name, answer.Status)
	}
	return nil
}

// leading is the master whose controllers act.
func (c *skiffCluster) leading(t testing.TB, k kubernetes.Interface) *master {
	t.Helper()
	var out *master
	eventually(t, "a master leads", func(ctx context.Context) error {
		lease, err := k.CoordinationV1().Leases("kube-system").Get(ctx, "kube-controller-manager", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if lease.Spec.HolderIdentity == nil || *lease.Spec.HolderIdentity == "" {
			return errors.New("nobody leads")
		}
		for _, m := range c.masters {
			if strings.HasSuffix(*lease.Spec.HolderIdentity, c.masterDir(m)) {
				out = m
				return nil
			}
		}
		return fmt.Errorf("%s leads, which is no master", *lease.Spec.HolderIdentity)
	})
	return out
}

// patience bounds every wait; a machine that is busy with other tests is slow.
const patience = 3 * time.Minute

func eventually(t testing.TB, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		once, stop := context.WithTimeout(ctx, 5*time.Second)
		err := check(once)
		stop()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not so: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
