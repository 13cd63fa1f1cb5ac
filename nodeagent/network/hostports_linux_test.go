package network_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/nodeagent/network"
)

// hostPortLab is a node, which this namespace plays, and a machine beside it.
type hostPortLab struct {
	*testing.T
	bridge  *network.Bridge
	dir     string
	outside string
}

func newHostPortLab(t *testing.T) *hostPortLab {
	t.Helper()
	l := &hostPortLab{T: t, dir: t.TempDir(), outside: netnstest.New(t)}
	connect(t, l.outside)
	l.must(network.SetLoopbackUp("/proc/thread-self/ns/net"))
	l.open()
	t.Cleanup(func() { l.bridge.Close() })
	return l
}

func (l *hostPortLab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// open begins with what is on disk, as an agent that starts.
func (l *hostPortLab) open() {
	l.Helper()
	var err error
	l.bridge, err = network.NewBridge(network.BridgeConfig{Dir: l.dir})
	l.must(err)
	l.must(l.bridge.SetCIDRs(context.Background(), []netip.Prefix{netip.MustParsePrefix("10.66.0.0/24"), netip.MustParsePrefix("fd66::/64")}))
}

// pod attaches one that answers at port 80 by TCP, and by UDP with its name.
func (l *hostPortLab) pod(name string, ports ...network.HostPort) string {
	l.Helper()
	path := netnstest.New(l.T)
	_, err := l.bridge.Attach(context.Background(), network.Pod{ID: name, NetNS: path, HostPorts: ports})
	l.must(err)
	serve(l.T, path, ":80")
	l.answer(path, ":80", name)
	return path
}

// answer tells a name to whoever sends a datagram.
func (l *hostPortLab) answer(path, addr, name string) {
	l.Helper()
	var c net.PacketConn
	l.must(netns.Do(path, func() (err error) { c, err = net.ListenPacket("udp", addr); return err }))
	l.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 10)
		for {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = c.WriteTo([]byte(name), from)
		}
	}()
}

func (l *hostPortLab) detach(name string) {
	l.Helper()
	l.must(l.bridge.Detach(context.Background(), name))
}

// asker sends datagrams from one port, so many at most, and tells who answers,
// or "nobody".
func (l *hostPortLab) asker(path, network, addr string) func(tries int) string {
	l.Helper()
	var c net.Conn
	l.must(netns.Do(path, func() (err error) { c, err = net.Dial(network, addr); return err }))
	l.Cleanup(func() { c.Close() })
	return func(tries int) string {
		buf := make([]byte, 10)
		for range tries {
			_, _ = c.Write([]byte("who"))
			_ = c.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
			if n, err := c.Read(buf); err == nil {
				return string(buf[:n])
			}
		}
		return "nobody"
	}
}

func TestHostPortsFollowTheirPod(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		l := newHostPortLab(t)
		udp := network.HostPort{Protocol: "UDP", HostPort: 5353, ContainerPort: 80}
		l.answer("", ":5353", "node")
		var askers []func(int) string
		for _, from := range []string{l.outside, ""} {
			askers = append(askers, l.asker(from, "udp4", "192.0.2.1:5353"))
		}
		askers = append(askers, l.asker("", "udp4", "127.0.0.1:5353"), l.asker("", "udp6", "[fd66::1]:5353"))
		expect := func(when, want string) {
			t.Helper()
			for i, ask := range askers {
				if got := ask(50); got != want {
					t.Errorf("%s, client %d: %s answers, want %s", when, i, got, want)
				}
			}
		}
		expect("without a pod", "node")
		l.pod("first", udp)
		expect("with a pod", "first")
		l.detach("first")
		expect("without it again", "node")
		l.pod("second", udp)
		expect("with another pod", "second")
		l.bridge.Close()
		l.open()
		expect("after a restart", "second")
		l.detach("second")
		expect("gone after a restart", "node")
	})
}

func TestHostPortsAreReachedFromEverywhere(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		l := newHostPortLab(t)
		tcp := func(hostIP string, port uint16) network.HostPort {
			p := network.HostPort{Protocol: "TCP", HostPort: port, ContainerPort: 80}
			if hostIP != "" {
				p.HostIP = netip.MustParseAddr(hostIP)
			}
			return p
		}
		paths := map[string]string{"outside": l.outside, "node": ""}
		paths["all"] = l.pod("all", tcp("", 8080), tcp("0.0.0.0", 8081))
		paths["one"] = l.pod("one", tcp("192.0.2.1", 8082), tcp("127.0.0.1", 8083))
		for _, c := range []struct{ from, to, want string }{
			{"outside", "192.0.2.1:8080", "192.0.2.2"},
			{"outside", "192.0.2.1:8081", "192.0.2.2"},
			{"outside", "192.0.2.1:8082", "192.0.2.2"},
			{"outside", "192.0.2.1:8083", ""},
			{"node", "192.0.2.1:8080", "192.0.2.1"},
			{"node", "10.66.0.1:8080", "10.66.0.1"},
			{"node", "10.66.0.1:8082", ""},
			{"node", "127.0.0.1:8080", "10.66.0.1"},
			{"node", "127.0.0.1:8081", "10.66.0.1"},
			{"node", "127.0.0.1:8082", ""},
			{"node", "127.0.0.1:8083", "10.66.0.1"},
			{"all", "192.0.2.1:8080", "10.66.0.1"},
			{"all", "192.0.2.1:8082", "10.66.0.2"},
			{"one", "192.0.2.1:8082", "10.66.0.1"},
			{"one", "192.0.2.1:8080", "10.66.0.3"},
			{"one", "127.0.0.1:8080", ""}, // its own loopback
		} {
			var got string
			err := netns.Do(paths[c.from], func() (err error) { got, err = ask(c.to); return err })
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("%s to %s: seen as %q, %v; want %q", c.from, c.to, got, err, c.want)
			}
		}
	})
}

// TestPodsDoNotReachTheNodesLoopback: the kernel takes such packets from the
// bridge once there are host ports.
func TestPodsDoNotReachTheNodesLoopback(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		l := newHostPortLab(t)
		pod := l.pod("pod", network.HostPort{Protocol: "TCP", HostPort: 8080, ContainerPort: 80})
		l.answer("", "127.0.0.1:9999", "node's own")
		l.must(netns.Do(pod, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			own, err := netlink.ParseAddr("127.0.0.1/8")
			if err != nil {
				return err
			}
			if err := netlink.AddrDel(lo, own); err != nil {
				return err
			}
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644); err != nil {
				return err
			}
			only := &net.IPNet{IP: net.IPv4(127, 0, 0, 1), Mask: net.CIDRMask(32, 32)}
			return netlink.RouteAdd(&netlink.Route{Dst: only, Gw: net.IPv4(10, 66, 0, 1)})
		}))
		if got := l.asker(pod, "udp4", "127.0.0.1:9999")(3); got != "nobody" {
			t.Errorf("%s answers a pod, on the node's loopback", got)
		}
	})
}

// TestServicesComeBeforeHostPorts: a service's address is one of the node's own
// where the node announces it.
func TestServicesComeBeforeHostPorts(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		l := newHostPortLab(t)
		c, err := nftables.New()
		l.must(err)
		table := c.AddTable(&nftables.Table{Name: "services", Family: nftables.TableFamilyIPv4})
		chain := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
		})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
			&expr.Immediate{Register: 1, Data: []byte{10, 66, 0, 2}},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(80)},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
		}})
		l.must(c.Flush())
		l.pod("endpoint")
		l.pod("host port", network.HostPort{Protocol: "UDP", HostPort: 5353, ContainerPort: 80})
		if got := l.asker(l.outside, "udp4", "192.0.2.1:5353")(50); got != "endpoint" {
			t.Errorf("%s answers, want the service's endpoint", got)
		}
	})
}

func TestTheNetworksRulesComeBack(t *testing.T) {
	inNamespace(t, func(t *testing.T) {
		l := newHostPortLab(t)
		l.pod("pod", network.HostPort{Protocol: "TCP", HostPort: 8080, ContainerPort: 80})
		table := &nftables.Table{Name: "skiff-pods-skiff0", Family: nftables.TableFamilyINet}
		for what, destroy := range map[string]func(*nftables.Conn){
			"the table is gone":    func(c *nftables.Conn) { c.DelTable(table) },
			"its rules are gone":   func(c *nftables.Conn) { c.FlushTable(table) },
			"one chain's are gone": func(c *nftables.Conn) { c.FlushChain(&nftables.Chain{Name: "prerouting", Table: table}) },
		} {
			c, err := nftables.New()
			l.must(err)
			destroy(c)
			l.must(c.Flush())
			l.must(l.bridge.CheckRules())
			if err := netns.Do(l.outside, func() error { _, err := ask("192.0.2.1:8080"); return err }); err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	})
}
