package network_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/nodeagent/network"
)

// testNode is a node in a namespace, with one pod.
type testNode struct {
	path, pod string
	bridge    *network.Bridge
	peer      network.Peer
	ips       []netip.Addr
}

// link joins two namespaces, "" being this one, and gives each end an address.
func link(t *testing.T, name string, ends [2]string, addrs [2][]string) {
	t.Helper()
	for i, path := range ends {
		if i == 0 {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = name
			veth := &netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}
			if ends[1] != "" {
				ns, err := vnetns.GetFromPath(ends[1])
				if err != nil {
					t.Fatal(err)
				}
				defer ns.Close()
				veth.PeerNamespace = netlink.NsFd(int(ns))
			}
			if err := netns.Do(path, func() error { return netlink.LinkAdd(veth) }); err != nil {
				t.Fatal(err)
			}
		}
		if err := netns.Do(path, func() error {
			l, err := netlink.LinkByName(name + strings.Repeat("p", i))
			if err != nil {
				return err
			}
			for _, text := range addrs[i] {
				a, err := netlink.ParseAddr(text)
				if err != nil {
					return err
				}
				a.Flags = unix.IFA_F_NODAD
				if err := netlink.AddrAdd(l, a); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(l)
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func defaultRoute(t *testing.T, path, gateway string) {
	t.Helper()
	if err := netns.Do(path, func() error {
		return netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(gateway)})
	}); err != nil {
		t.Fatal(err)
	}
}

// start makes a node's network and its pod.
func (n *testNode) start(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	if err := netns.Do(n.path, func() (err error) {
		n.bridge, err = network.NewBridge(network.BridgeConfig{
			Dir: t.TempDir(), ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.68.0.0/16"), netip.MustParsePrefix("fd68::/48")},
		})
		if err != nil {
			return err
		}
		if err := n.bridge.SetCIDRs(ctx, n.peer.CIDRs); err != nil {
			return err
		}
		n.pod = netnstest.New(t)
		n.ips, err = n.bridge.Attach(ctx, network.Pod{ID: n.peer.Name, NetNS: n.pod})
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.bridge.Close)
}

func (n *testNode) setPeers(t *testing.T, peers ...network.Peer) {
	t.Helper()
	if err := netns.Do(n.path, func() error { return n.bridge.SetPeers(peers) }); err != nil {
		t.Fatal(err)
	}
}

func newNode(t *testing.T, name, cidr4, cidr6 string, addresses ...string) *testNode {
	t.Helper()
	n := &testNode{path: netnstest.New(t), peer: network.Peer{Name: name, CIDRs: []netip.Prefix{netip.MustParsePrefix(cidr4), netip.MustParsePrefix(cidr6)}}}
	for _, a := range addresses {
		n.peer.Addresses = append(n.peer.Addresses, netip.MustParseAddr(a))
	}
	return n
}

// transfer sends a megabyte from one pod to another by TCP, and one large packet
// by UDP, and checks that the receiver sees the pod's own address.
func transfer(t *testing.T, from, to *testNode) {
	t.Helper()
	for i, ip := range to.ips {
		want := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
		var l net.Listener
		var packets net.PacketConn
		if err := netns.Do(to.pod, func() (err error) {
			l, err = net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
			if err == nil {
				packets, err = net.ListenPacket("udp", netip.AddrPortFrom(ip, 0).String())
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		defer packets.Close()
		type received struct {
			data []byte
			from net.Addr
			err  error
		}
		done := make(chan received, 1)
		go func() {
			conn, err := l.Accept()
			if err != nil {
				done <- received{err: err}
				return
			}
			defer conn.Close()
			data, err := io.ReadAll(conn)
			done <- received{data, conn.RemoteAddr(), err}
		}()
		if err := netns.Do(from.pod, func() error {
			conn, err := net.DialTimeout("tcp", l.Addr().String(), 10*time.Second)
			if err != nil {
				return err
			}
			defer conn.Close()
			if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
				return err
			}
			_, err = conn.Write(want)
			return err
		}); err != nil {
			t.Errorf("%s to %s: %v", from.ips[i], ip, err)
			continue
		}
		got := <-done
		if got.err != nil || !bytes.Equal(got.data, want) {
			t.Errorf("%s to %s: got %d bytes of %d, %v", from.ips[i], ip, len(got.data), len(want), got.err)
		}
		if seen, _, _ := net.SplitHostPort(got.from.String()); seen != from.ips[i].String() {
			t.Errorf("%s was seen as %s", from.ips[i], seen)
		}
		if err := netns.Do(from.pod, func() error {
			conn, err := net.Dial("udp", packets.LocalAddr().String())
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write(want[:8000]) // in pieces
			return err
		}); err != nil {
			t.Errorf("%s to %s by UDP: %v", from.ips[i], ip, err)
			continue
		}
		buf := make([]byte, 9000)
		if err := packets.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if n, _, err := packets.ReadFrom(buf); err != nil || n != 8000 {
			t.Errorf("%s to %s by UDP: got %d bytes, %v", from.ips[i], ip, n, err)
		}
	}
}

func links(t *testing.T, path, kind string) (names []string) {
	t.Helper()
	if err := netns.Do(path, func() error {
		all, err := netlink.LinkList()
		for _, l := range all {
			if l.Type() == kind {
				names = append(names, l.Attrs().Name)
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return names
}

func TestNodesOnOneNetwork(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		a := newNode(t, "a", "10.68.1.0/24", "fd68:0:0:1::/64", "192.0.2.1", "2001:db8::1")
		b := newNode(t, "b", "10.68.2.0/24", "fd68:0:0:2::/64", "192.0.2.2", "2001:db8::2")
		link(t, "wire", [2]string{a.path, b.path}, [2][]string{{"192.0.2.1/24", "2001:db8::1/64"}, {"192.0.2.2/24", "2001:db8::2/64"}})
		a.start(t)
		b.start(t)
		a.setPeers(t, b.peer)
		b.setPeers(t, a.peer)
		transfer(t, a, b)
		if vx := links(t, a.path, "vxlan"); len(vx) > 0 {
			t.Errorf("an overlay was made on one network: %v", vx)
		}
		routes := func() (n int) {
			if err := netns.Do(a.path, func() error {
				for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
					list, err := netlink.RouteListFiltered(family, &netlink.Route{Protocol: 0x5c}, netlink.RT_FILTER_PROTOCOL)
					if err != nil {
						return err
					}
					n += len(list)
				}
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			return n
		}
		if n := routes(); n != 2 {
			t.Errorf("got %d routes, want one of each family", n)
		}
		a.setPeers(t)
		a.setPeers(t, network.Peer{Name: "overlaps", CIDRs: a.peer.CIDRs, Addresses: b.peer.Addresses})
		if n := routes(); n != 0 {
			t.Errorf("without peers: got %d routes", n)
		}
	})
}

func TestNodesOnTwoNetworks(t *testing.T) {
	for _, tt := range []struct{ name, left, right, bits, forwarding string }{
		{"of IPv4", "192.0.2.", "198.51.100.", "/24", "/proc/sys/net/ipv4/ip_forward"},
		{"of IPv6", "2001:db8:0:1::", "2001:db8:0:2::", "/64", "/proc/sys/net/ipv6/conf/all/forwarding"},
	} {
		t.Run(tt.name, func(t *testing.T) { onTwoNetworks(t, tt.left, tt.right, tt.bits, tt.forwarding) })
	}
}

func onTwoNetworks(t *testing.T, left, right, bits, forwarding string) {
	inNamespace(t, func(t *testing.T) {
		// This namespace routes between two networks and knows nothing of pods.
		a := newNode(t, "a", "10.68.1.0/24", "fd68:0:0:1::/64", left+"1")
		b := newNode(t, "b", "10.68.2.0/24", "fd68:0:0:2::/64", right+"1")
		link(t, "left", [2]string{"", a.path}, [2][]string{{left + "254" + bits}, {left + "1" + bits}})
		link(t, "right", [2]string{"", b.path}, [2][]string{{right + "254" + bits}, {right + "1" + bits}})
		defaultRoute(t, a.path, left+"254")
		defaultRoute(t, b.path, right+"254")
		if err := os.WriteFile(forwarding, []byte("1"), 0o644); err != nil {
			t.Fatal(err)
		}
		// These pods are older than the overlay: their links carry more than it.
		a.start(t)
		b.start(t)
		a.setPeers(t, b.peer)
		b.setPeers(t, a.peer)
		if vx := links(t, a.path, "vxlan"); len(vx) != 1 {
			t.Fatalf("got overlays %v, want one", vx)
		}
		transfer(t, a, b)
		transfer(t, b, a)

		// The same again, after an agent that starts anew.
		a.setPeers(t, b.peer)
		transfer(t, a, b)
		a.setPeers(t)
		if vx := links(t, a.path, "vxlan"); len(vx) > 0 {
			t.Errorf("without peers: overlays %v are left", vx)
		}
		if err := netns.Do(a.path, a.bridge.Remove); err != nil {
			t.Errorf("remove: %v", err)
		}
	})
}

// reserver is the environment variable of a process that reserves addresses.
const reserver = "SKIFF_TEST_RESERVER"

// TestAddressesAfterKill kills a process that reserves and frees addresses, at
// any moment: what it gave stays given.
func TestAddressesAfterKill(t *testing.T) {
	ctx := context.Background()
	open := func(dir string) *network.Bridge {
		b, err := network.NewBridge(network.BridgeConfig{Dir: dir})
		if err == nil {
			err = b.SetCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.69.0.0/22")})
		}
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if dir := os.Getenv(reserver); dir != "" {
		b := open(dir)
		for i := 0; ; i++ {
			id := fmt.Sprintf("pod-%d-%d", os.Getpid(), i)
			ips, err := b.Reserve(ctx, id)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Println("got", id, ips[0])
			if i%4 == 3 {
				fmt.Println("free", id)
				if err := b.Detach(ctx, id); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	dir := t.TempDir()
	given := map[string]string{}
	owner := map[string]string{}
	for round := range 8 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestAddressesAfterKill$")
		cmd.Env = append(os.Environ(), reserver+"="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			words := strings.Fields(lines.Text())
			switch {
			case len(words) == 3 && words[0] == "got":
				if other, taken := owner[words[2]]; taken {
					t.Errorf("%s was given to %s and to %s", words[2], other, words[1])
				}
				given[words[1]], owner[words[2]] = words[2], words[1]
			case len(words) == 2 && words[0] == "free":
				// It may be given again from now on.
				delete(owner, given[words[1]])
				delete(given, words[1])
			}
			if n == 20+7*round {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) {
			t.Fatalf("the process that reserves ended: %v", err)
		}
	}
	inNamespace(t, func(t *testing.T) {
		b := open(dir)
		defer b.Close()
		for id, ip := range given {
			if ips, err := b.Reserve(ctx, id); err != nil || ips[0].String() != ip {
				t.Errorf("%s had %s, and now: %v, %v", id, ip, ips, err)
			}
		}
	})
}
