package network_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/nodeagent/network"
)

// inNamespace runs f in a network namespace of its own, which plays the node.
func inNamespace(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	netnstest.Inside(t, netnstest.New(t), func() { f(t) })
}

// serve answers in a namespace with the caller's address.
func serve(t *testing.T, path, addr string) {
	t.Helper()
	var l net.Listener
	if err := netns.Do(path, func() (err error) { l, err = net.Listen("tcp4", addr); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(conn, conn.RemoteAddr().(*net.TCPAddr).IP)
			conn.Close()
		}
	}()
}

// ask connects from this namespace and gives what is answered.
func ask(addr string) (string, error) {
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).Dial("tcp4", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	answer, err := io.ReadAll(conn)
	return string(answer), err
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 seconds", what)
		}
	}
}

func TestBridge(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		dir := t.TempDir()
		open := func() *network.Bridge {
			b, err := network.NewBridge(network.BridgeConfig{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.SetCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.66.0.0/24")}); err != nil {
				t.Fatal(err)
			}
			return b
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err != nil {
			t.Fatal(err)
		}
		b := open()
		one, two := netnstest.New(t), netnstest.New(t)
		reserved, err := b.Reserve(ctx, "one")
		if err != nil {
			t.Fatal(err)
		}
		ips, err := b.Attach(ctx, network.Pod{ID: "one", NetNS: one, HostPorts: []network.HostPort{{Protocol: "TCP", HostPort: 8888, ContainerPort: 80}}})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(ips, reserved) {
			t.Errorf("got %v, reserved were %v", ips, reserved)
		}
		if again, err := b.Attach(ctx, network.Pod{ID: "one", NetNS: one, HostPorts: []network.HostPort{{Protocol: "TCP", HostPort: 8888, ContainerPort: 80}}}); err != nil || !slices.Equal(again, ips) {
			t.Errorf("attached again: got %v, %v", again, err)
		}
		twoIPs, err := b.Attach(ctx, network.Pod{ID: "two", NetNS: two})
		if err != nil {
			t.Fatal(err)
		}
		serve(t, one, ":80")

		// No subtests: they run in other goroutines, on other threads.
		if got, err := ask(ips[0].String() + ":80"); err != nil || got != "10.66.0.1" {
			t.Errorf("node to pod: got %q, %v", got, err)
		}
		if err := netns.Do(two, func() error {
			got, err := ask(ips[0].String() + ":80")
			if err == nil && got != twoIPs[0].String() {
				err = fmt.Errorf("the pod was seen as %s", got)
			}
			return err
		}); err != nil {
			t.Errorf("pod to pod: %v", err)
		}
		if err := netns.Do(one, func() error { _, err := ask("127.0.0.1:80"); return err }); err != nil {
			t.Errorf("loopback in a pod: %v", err)
		}
		if got, err := ask("10.66.0.1:8888"); err != nil {
			t.Errorf("host port from the node: %q, %v", got, err)
		}
		if err := netns.Do(two, func() error { _, err := ask("10.66.0.1:8888"); return err }); err != nil {
			t.Errorf("host port from a pod: %v", err)
		}
		if err := netns.Do(one, func() error { _, err := ask("10.66.0.1:8888"); return err }); err != nil {
			t.Errorf("host port from the pod itself: %v", err)
		}

		// A network that starts again knows who has which address.
		b.Close()
		b = open()
		if got := b.Pods(); !slices.Equal(got, []string{"one", "two"}) {
			t.Errorf("after a restart: got %v", got)
		}
		three, err := b.Reserve(ctx, "three")
		if err != nil || three[0] == ips[0] || three[0] == twoIPs[0] {
			t.Errorf("after a restart: got %v, %v", three, err)
		}
		for _, id := range []string{"one", "three", "none"} {
			if err := b.Detach(ctx, id); err != nil {
				t.Errorf("detach %s: %v", id, err)
			}
		}
		eventually(t, "addresses are freed", func() bool { return slices.Equal(b.Pods(), []string{"two"}) })
		if _, err := ask(ips[0].String() + ":80"); err == nil {
			t.Error("a pod that was disconnected answers")
		}
		if err := b.Remove(); err != nil {
			t.Errorf("remove: %v", err)
		}
		b.Close()
		links, err := netlink.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			if l.Type() == "bridge" || l.Type() == "veth" {
				t.Errorf("link %s is left", l.Attrs().Name)
			}
		}
	})
}

// TestNodeWithOtherAddresses: a node that joined again may have other CIDRs; what
// was connected before needs a new namespace, and then has a new address.
func TestNodeWithOtherAddresses(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		dir := t.TempDir()
		open := func(cidr string) *network.Bridge {
			b, err := network.NewBridge(network.BridgeConfig{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			if err := b.SetCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix(cidr)}); err != nil {
				t.Fatal(err)
			}
			return b
		}
		b := open("10.66.1.0/24")
		if _, err := b.Attach(ctx, network.Pod{ID: "pod", NetNS: netnstest.New(t)}); err != nil {
			t.Fatal(err)
		}
		b.Close()
		b = open("10.66.2.0/24")
		defer b.Close()
		after := netnstest.New(t)
		if ips, err := b.Attach(ctx, network.Pod{ID: "pod", NetNS: after}); !errors.Is(err, network.ErrMoved) {
			t.Fatalf("got %v, %v, want ErrMoved", ips, err)
		}
		ips, err := b.Attach(ctx, network.Pod{ID: "pod", NetNS: after})
		if err != nil || !netip.MustParsePrefix("10.66.2.0/24").Contains(ips[0]) {
			t.Fatalf("got %v, %v", ips, err)
		}
		serve(t, after, ":80")
		if got, err := ask(ips[0].String() + ":80"); err != nil || got != "10.66.2.1" {
			t.Errorf("node to pod: got %q, %v", got, err)
		}
	})
}

// TestMasquerade: what leaves the cluster has the node's address.
func TestMasquerade(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		outside := netnstest.New(t)
		connect(t, outside)
		b, err := network.NewBridge(network.BridgeConfig{Dir: t.TempDir(), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.66.0.0/16")}})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.SetCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.66.0.0/24")}); err != nil {
			t.Fatal(err)
		}
		pod := netnstest.New(t)
		if _, err := b.Attach(ctx, network.Pod{ID: "pod", NetNS: pod}); err != nil {
			t.Fatal(err)
		}
		serve(t, outside, ":80")
		if err := netns.Do(pod, func() error {
			got, err := ask("192.0.2.2:80")
			if err == nil && got != "192.0.2.1" {
				err = fmt.Errorf("the pod was seen as %s", got)
			}
			return err
		}); err != nil {
			t.Error(err)
		}
	})
}

// connect links this namespace, 192.0.2.1, with another, 192.0.2.2.
func connect(t *testing.T, path string) {
	t.Helper()
	ns, err := vnetns.GetFromPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "outside"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "node", PeerNamespace: netlink.NsFd(int(ns))}); err != nil {
		t.Fatal(err)
	}
	up := func(name, address string) error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		addr, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return err
		}
		return netlink.LinkSetUp(link)
	}
	if err := up("outside", "192.0.2.1/24"); err != nil {
		t.Fatal(err)
	}
	if err := netns.Do(path, func() error { return up("node", "192.0.2.2/24") }); err != nil {
		t.Fatal(err)
	}
}

func TestBridgeKeepsItsHardwareAddress(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		ctx := context.Background()
		b, err := network.NewBridge(network.BridgeConfig{Dir: t.TempDir(), Name: "keeps0"})
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.SetCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.67.0.0/24")}); err != nil {
			t.Fatal(err)
		}
		check := func(when string) {
			t.Helper()
			link, err := netlink.LinkByName("keeps0")
			if err != nil {
				t.Fatal(err)
			}
			if got := link.Attrs().HardwareAddr.String(); got != "0a:58:0a:43:00:01" {
				t.Errorf("%s: got %s", when, got)
			}
		}
		check("without pods")
		// Their links have random addresses: of eight, some are lower.
		for i := range 8 {
			id := fmt.Sprintf("pod%d", i)
			if _, err := b.Attach(ctx, network.Pod{ID: id, NetNS: netnstest.New(t)}); err != nil {
				t.Fatal(err)
			}
		}
		check("with pods")
		for i := range 8 {
			if err := b.Detach(ctx, fmt.Sprintf("pod%d", i)); err != nil {
				t.Fatal(err)
			}
		}
		check("when pods have gone")
	})
}

func TestPodsLinksHaveTheMTUOfTheWayOut(t *testing.T) {
	for _, tt := range []struct{ name, address, gateway, pods string }{
		{"by IPv4", "192.0.2.7/24", "192.0.2.1", "10.68.0.0/24"},
		{"by IPv6 alone", "2001:db8::7/64", "2001:db8::1", "fd00:68::/64"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inNamespace(t, func(t *testing.T) {
				attrs := netlink.NewLinkAttrs()
				attrs.Name, attrs.MTU = "out0", 1400
				out := &netlink.Veth{LinkAttrs: attrs, PeerName: "out1"}
				address, err := netlink.ParseAddr(tt.address)
				if err != nil {
					t.Fatal(err)
				}
				for _, do := range []func() error{
					func() error { return netlink.LinkAdd(out) },
					func() error { return netlink.LinkSetUp(out) },
					func() error { return netlink.AddrAdd(out, address) },
					func() error {
						return netlink.RouteAdd(&netlink.Route{LinkIndex: out.Index, Gw: net.ParseIP(tt.gateway)})
					},
				} {
					if err := do(); err != nil {
						t.Fatal(err)
					}
				}
				b, err := network.NewBridge(network.BridgeConfig{Dir: t.TempDir(), Name: "mtu0"})
				if err != nil {
					t.Fatal(err)
				}
				defer b.Close()
				if err := b.SetCIDRs(t.Context(), []netip.Prefix{netip.MustParsePrefix(tt.pods)}); err != nil {
					t.Fatal(err)
				}
				pod := netnstest.New(t)
				if _, err := b.Attach(t.Context(), network.Pod{ID: "one", NetNS: pod}); err != nil {
					t.Fatal(err)
				}
				err = netns.Do(pod, func() error {
					link, err := netlink.LinkByName("eth0")
					if err == nil && link.Attrs().MTU != 1400 {
						err = fmt.Errorf("the pod's link has an MTU of %d", link.Attrs().MTU)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		})
	}
}
