package cni_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/nodeagent/network"
	"github.com/skiffcluster/skiff/nodeagent/network/cni"
)

// plugins builds the reference plugins once and gives their directory.
var plugins = func() func(t *testing.T) string {
	var once sync.Once
	var dir string
	var failed error
	return func(t *testing.T) string {
		t.Helper()
		once.Do(func() {
			const base = "github.com/containernetworking/plugins/plugins/"
			dir = filepath.Join(os.TempDir(), fmt.Sprintf("skiff-cni-plugins-%d", os.Getpid()))
			if failed = os.MkdirAll(dir, 0o755); failed != nil {
				return
			}
			build := exec.Command("go", "build", "-o", dir, base+"main/bridge", base+"main/loopback", base+"ipam/host-local", base+"meta/portmap")
			build.Dir = "../../../hack/tools/cni"
			build.Env = append(os.Environ(), "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				failed = fmt.Errorf("build the reference plugins: %w\n%s", err, out)
			}
		})
		if failed != nil {
			t.Fatal(failed)
		}
		return dir
	}
}()

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(filepath.Join(os.TempDir(), fmt.Sprintf("skiff-cni-plugins-%d", os.Getpid())))
	os.Exit(code)
}

func ask(address string) error {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	got, err := io.ReadAll(conn)
	if err == nil && string(got) != "hello" {
		err = fmt.Errorf("got %q", got)
	}
	return err
}

func TestReferencePlugins(t *testing.T) {
	bin := plugins(t)
	netnstest.Inside(t, netnstest.New(t), func() {
		ctx := context.Background()
		conf, dir, leases := t.TempDir(), t.TempDir(), t.TempDir()
		cfg := cni.Config{ConfDir: conf, BinDir: bin, Dir: dir}
		n, err := cni.New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := n.Ready(); !errors.Is(err, network.ErrNotReady) || err.Error() != "cni plugin not initialized" {
			t.Errorf("without a configuration: got %v", err)
		}
		// A DaemonSet brings it while the node runs. Of two, the first by name counts.
		write(t, filepath.Join(conf, "20-later.conflist"), `{"cniVersion": "1.0.0", "name": "later", "plugins": [{"type": "nowhere"}]}`)
		write(t, filepath.Join(conf, "10-pods.conflist"), fmt.Sprintf(`{
			"cniVersion": "1.0.0", "name": "pods",
			"plugins": [
				{"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
				 "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.88.1.0/29"}], [{"subnet": "fd88:1::/64"}]], "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}},
				{"type": "portmap", "backend": "nftables", "capabilities": {"portMappings": true}, "snat": true}
			]}`, leases))
		if err := n.Ready(); err != nil {
			t.Fatalf("with a configuration: %v", err)
		}
		pod := network.Pod{ID: "one-uid", Namespace: "default", Name: "one", NetNS: netnstest.New(t), HostPorts: []network.HostPort{{Protocol: "TCP", HostPort: 8888, ContainerPort: 80}}}
		if ips, err := n.Reserve(ctx, pod.ID); err != nil || len(ips) != 0 {
			t.Errorf("before it is connected: got %v, %v", ips, err)
		}
		ips, err := n.Attach(ctx, pod)
		if err != nil {
			t.Fatal(err)
		}
		if len(ips) != 2 || !netip.MustParsePrefix("10.88.1.0/29").Contains(ips[0]) || !netip.MustParsePrefix("fd88:1::/64").Contains(ips[1]) {
			t.Fatalf("got %v", ips)
		}
		again, err := n.Attach(ctx, pod)
		if err != nil || !slices.Equal(again, ips) {
			t.Errorf("attached again: got %v, %v", again, err)
		}
		var l net.Listener
		if err := netns.Do(pod.NetNS, func() (err error) { l, err = net.Listen("tcp4", ":80"); return err }); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(conn, "hello")
				conn.Close()
			}
		}()
		if err := ask(netip.AddrPortFrom(ips[0], 80).String()); err != nil {
			t.Errorf("from the node: %v", err)
		}
		if err := netns.Do(pod.NetNS, func() error { return ask("127.0.0.1:80") }); err != nil {
			t.Errorf("from the pod itself: %v", err)
		}
		two := network.Pod{ID: "two-uid", Namespace: "default", Name: "two", NetNS: netnstest.New(t)}
		if _, err := n.Attach(ctx, two); err != nil {
			t.Fatal(err)
		}
		if err := netns.Do(two.NetNS, func() error { return ask("10.88.1.1:8888") }); err != nil {
			t.Errorf("host port from another pod: %v", err)
		}

		// An agent that starts again knows what is connected; a pod whose link
		// has vanished is connected anew.
		if n, err = cni.New(cfg); err != nil {
			t.Fatal(err)
		}
		if got := n.Pods(); !slices.Equal(got, []string{"one-uid", "two-uid"}) {
			t.Errorf("after a restart: got %v", got)
		}
		if err := netns.Do(two.NetNS, func() error {
			link, err := netlink.LinkByName("eth0")
			if err == nil {
				err = netlink.LinkDel(link)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := n.Attach(ctx, two); err != nil {
			t.Errorf("without its link: %v", err)
		}
		if err := netns.Do(two.NetNS, func() error { return ask(netip.AddrPortFrom(ips[0], 80).String()) }); err != nil {
			t.Errorf("after it was connected anew: %v", err)
		}

		// A /29 has room for five pods; who gets no address leaves nothing.
		for i := range 3 {
			name := fmt.Sprint("more", i)
			if _, err := n.Attach(ctx, network.Pod{ID: name, Namespace: "default", Name: name, NetNS: netnstest.New(t)}); err != nil {
				t.Fatal(err)
			}
		}
		_, err = n.Attach(ctx, network.Pod{ID: "full", Namespace: "default", Name: "full", NetNS: netnstest.New(t)})
		if err == nil || !strings.Contains(err.Error(), `failed to setup network for sandbox "full": plugin type="bridge" failed (add): `) || !strings.Contains(err.Error(), "no IP addresses available in range set") {
			t.Errorf("without a free address: got %v", err)
		}
		if slices.Contains(n.Pods(), "full") {
			t.Error("a pod that was not connected is remembered")
		}
		for _, id := range n.Pods() {
			if err := n.Detach(ctx, id); err != nil {
				t.Errorf("detach %s: %v", id, err)
			}
		}
		if err := n.Detach(ctx, "nobody"); err != nil {
			t.Errorf("detach nobody: %v", err)
		}
		if left, err := filepath.Glob(filepath.Join(leases, "pods", "*.*")); err != nil || len(left) > 2 { // the last given ones stay known
			t.Errorf("leases are left: %v, %v", left, err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("files are left: %v, %v", files, err)
		}
		if err := netns.Do(pod.NetNS, func() error { _, err := netlink.LinkByName("eth0"); return err }); err == nil {
			t.Error("the pod's link is left")
		}

		// A plugin that is missing.
		write(t, filepath.Join(conf, "05-first.conf"), `{"cniVersion": "1.0.0", "name": "first", "type": "nowhere"}`)
		_, err = n.Attach(ctx, network.Pod{ID: "lost", Namespace: "default", Name: "lost", NetNS: netnstest.New(t)})
		if err == nil || !strings.Contains(err.Error(), `failed to find plugin "nowhere" in path [`+bin+`]`) {
			t.Errorf("with a plugin that is missing: got %v", err)
		}
	})
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
