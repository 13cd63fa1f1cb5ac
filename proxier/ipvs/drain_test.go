package ipvs_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/ipvs"
	"github.com/skiffcluster/skiff/proxier/model"
)

// node is a network namespace with addresses of its own and the backend in it.
type node struct {
	testing.TB
	path string
	b    *ipvs.Backend
	now  time.Time
}

const vip = "10.96.0.1"

func newNode(t *testing.T) *node { return newNodeWith(t, "") }

func newNodeWith(t *testing.T, scheduler string) *node {
	t.Helper()
	needsIPVS(t)
	n := &node{TB: t, path: netnstest.New(t), now: time.Unix(1e9, 0)}
	n.inside(func() error {
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}})
	})
	n.addAddr("10.0.0.1/24")
	for i := 1; i <= 2; i++ {
		n.addAddr(fmt.Sprintf("10.0.0.1%d/24", i))
		n.serve(fmt.Sprintf("10.0.0.1%d:8080", i))
	}
	b, err := ipvs.Open(ipvs.Config{Config: backend.Config{NetNS: n.path}, Scheduler: scheduler, Now: func() time.Time { return n.now }})
	if err != nil {
		if scheduler != "" && strings.Contains(err.Error(), "has no IPVS scheduler") {
			return n
		}
		t.Fatal(err)
	}
	n.b = b
	t.Cleanup(func() { _ = b.Close() })
	return n
}

func (n *node) inside(f func() error) {
	n.Helper()
	if err := netns.Do(n.path, f); err != nil {
		n.Fatal(err)
	}
}

func (n *node) addAddr(cidr string) {
	n.Helper()
	n.inside(func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(br); err != nil {
			return err
		}
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		return netlink.AddrAdd(br, a)
	})
}

// serve echoes lines at addr.
func (n *node) serve(addr string) {
	n.Helper()
	n.inside(func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		n.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer func() { _ = c.Close() }()
					r := bufio.NewReader(c)
					for {
						s, err := r.ReadString('\n')
						if err != nil {
							return
						}
						_, _ = fmt.Fprint(c, s)
					}
				}()
			}
		}()
		return nil
	})
}

// dial opens a connection that echoes.
func (n *node) dial(addr string) net.Conn {
	n.Helper()
	var c net.Conn
	n.inside(func() (err error) {
		c, err = net.DialTimeout("tcp", addr, 5*time.Second)
		return err
	})
	n.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := fmt.Fprintln(c, "hello"); err != nil {
		n.Fatal(err)
	}
	if _, err := bufio.NewReader(c).ReadString('\n'); err != nil {
		n.Fatal(err)
	}
	return c
}

func (n *node) apply(protocol corev1.Protocol, endpoints ...string) {
	n.Helper()
	p := model.Port{Name: "web", Protocol: protocol, Family: corev1.IPv4Protocol}
	for _, e := range endpoints {
		p.Cluster = append(p.Cluster, model.Endpoint{AddrPort: netip.MustParseAddrPort(e)})
	}
	p.Frontends = []model.Frontend{
		{Kind: model.ClusterIP, Addr: netip.MustParseAddr(vip), Port: 80},
		{Kind: model.NodePort, Port: 30080},
	}
	s := &model.Service{Key: "default/web", Ports: []model.Port{p}}
	if err := n.b.Apply(n.Context(), []model.Change{{Key: s.Key, Service: s}}); err != nil {
		n.Fatal(err)
	}
}

func (n *node) check() {
	n.Helper()
	if _, err := n.b.Check(n.Context()); err != nil {
		n.Fatal(err)
	}
}

// eachService calls f for each virtual server that the kernel has, with its real
// servers.
func (n *node) eachService(f func(s *moby.Service, servers []*moby.Destination)) {
	n.Helper()
	h, err := moby.New(n.path)
	if err != nil {
		n.Fatal(err)
	}
	defer h.Close()
	services, err := h.GetServices()
	if err != nil {
		n.Fatal(err)
	}
	for _, s := range services {
		servers, err := h.GetDestinations(s)
		if err != nil {
			n.Fatal(err)
		}
		f(s, servers)
	}
}

// servers returns the real servers behind addr as "address=weight".
func (n *node) servers(addr string) string {
	n.Helper()
	var out []string
	n.eachService(func(s *moby.Service, servers []*moby.Destination) {
		if net.JoinHostPort(s.Address.String(), fmt.Sprint(s.Port)) != addr {
			return
		}
		out = append(out, s.SchedName)
		for _, d := range servers {
			out = append(out, fmt.Sprintf("%s=%d", d.Address, d.Weight))
		}
	})
	return strings.Join(out, " ")
}

func (n *node) expectServers(what, addr, want string) {
	n.Helper()
	got := strings.Fields(n.servers(addr))
	wanted := strings.Fields(want)
	seen := map[string]int{}
	for _, g := range got {
		seen[g]++
	}
	for _, w := range wanted {
		seen[w]--
	}
	for s, d := range seen {
		if d != 0 {
			n.Errorf("%s: %s has %q, want %q (%s)", what, addr, got, want, s)
			return
		}
	}
}

func TestEverySchedulerServes(t *testing.T) {
	for _, scheduler := range []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos"} {
		t.Run(scheduler, func(t *testing.T) {
			n := newNodeWith(t, scheduler)
			if n.b == nil {
				t.Skip("this kernel does not have it")
			}
			n.apply(corev1.ProtocolTCP, "10.0.0.11:8080", "10.0.0.12:8080")
			n.dial(vip + ":80")
			n.expectServers("scheduler", vip+":80", scheduler+" 10.0.0.11=1 10.0.0.12=1")
		})
	}
}

func TestASchedulerThatTheKernelLacksIsNamed(t *testing.T) {
	n := newNode(t)
	_, err := ipvs.Open(ipvs.Config{Config: backend.Config{NetNS: n.path}, Scheduler: "nosuch"})
	if err == nil || !strings.Contains(err.Error(), `this kernel has no IPVS scheduler "nosuch"`) {
		t.Errorf("%v, want an error that names the scheduler", err)
	}
}

func TestAServerThatGoesIsDrained(t *testing.T) {
	n := newNode(t)
	n.apply(corev1.ProtocolTCP, "10.0.0.11:8080")
	n.dial(vip + ":80")
	n.apply(corev1.ProtocolTCP, "10.0.0.12:8080")
	n.expectServers("with a connection", vip+":80", "rr 10.0.0.11=0 10.0.0.12=1")
	n.check()
	n.expectServers("with a connection, checked", vip+":80", "rr 10.0.0.11=0 10.0.0.12=1")
	n.expectServers("the node port never had one", "10.0.0.1:30080", "rr 10.0.0.12=1")
	n.apply(corev1.ProtocolTCP, "10.0.0.11:8080", "10.0.0.12:8080")
	n.expectServers("come back", vip+":80", "rr 10.0.0.11=1 10.0.0.12=1")
	n.apply(corev1.ProtocolTCP, "10.0.0.12:8080")
	n.now = n.now.Add(ipvs.DrainTime - time.Second)
	n.check()
	n.expectServers("shortly before its time is up", vip+":80", "rr 10.0.0.11=0 10.0.0.12=1")
	n.now = n.now.Add(time.Second)
	n.check()
	n.expectServers("its time is up", vip+":80", "rr 10.0.0.12=1")
}

func TestAUDPServerIsRemovedAtOnce(t *testing.T) {
	n := newNode(t)
	n.apply(corev1.ProtocolUDP, "10.0.0.11:53", "10.0.0.12:53")
	n.apply(corev1.ProtocolUDP, "10.0.0.12:53")
	n.expectServers("one is gone", vip+":80", "rr 10.0.0.12=1")
}

func TestNodePortsFollowTheNodesAddresses(t *testing.T) {
	n := newNode(t)
	n.apply(corev1.ProtocolTCP, "10.0.0.12:8080")
	changed := make(chan struct{}, 64)
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		n.b.WatchAddresses(ctx, func() { changed <- struct{}{} })
	}()
	deadline := time.After(10 * time.Second)
	told := false
	for i := 1; !told; i++ {
		// The subscription may begin only after an address came: add another.
		n.addAddr(fmt.Sprintf("10.0.7.%d/24", i))
		select {
		case <-changed:
			told = true
		case <-deadline:
			t.Fatal("not told of a new address")
		case <-time.After(50 * time.Millisecond):
		}
	}
	cancel()
	<-watching
	n.addAddr("10.0.8.1/24")
	n.check()
	n.expectServers("a new address", "10.0.8.1:30080", "rr 10.0.0.12=1")
}

// TestHostPortsDoNotTakeAServicesConnections: an address of a service is the
// node's own here, and so what redirects a port of all of the node's addresses
// would have the service's connections too.
func TestHostPortsDoNotTakeAServicesConnections(t *testing.T) {
	n := newNode(t)
	n.inside(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: "hostports", Family: nftables.TableFamilyINet})
		for _, hook := range []*nftables.ChainHook{nftables.ChainHookPrerouting, nftables.ChainHookOutput} {
			chain := c.AddChain(&nftables.Chain{
				Name: fmt.Sprint("hook", *hook), Table: table, Type: nftables.ChainTypeNAT,
				Hooknum: hook, Priority: nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest + 10),
			})
			c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(80)},
				&expr.Immediate{Register: 1, Data: []byte{10, 0, 0, 11}},
				&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(8080)},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1, RegProtoMin: 2},
			}})
		}
		return c.Flush()
	})
	n.apply(corev1.ProtocolTCP, "10.0.0.12:8080")
	n.dial("10.0.0.1:80") // by the host port
	n.expectConnections("the host port's", "10.0.0.12", 0)
	n.dial(vip + ":80")
	n.expectConnections("the node's", "10.0.0.12", 1)
	client := netnstest.New(t)
	n.join(client, "10.0.0.100/24")
	var c net.Conn
	if err := netns.Do(client, func() (err error) {
		c, err = net.DialTimeout("tcp", vip+":80", 5*time.Second)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	n.expectConnections("another machine's", "10.0.0.12", 2)
}

// join puts another machine on the node's bridge; its way to everywhere is the
// node.
func (n *node) join(path, cidr string) {
	n.Helper()
	ns, err := vnetns.GetFromPath(path)
	if err != nil {
		n.Fatal(err)
	}
	defer func() { _ = ns.Close() }()
	n.inside(func() error {
		br, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		attrs := netlink.LinkAttrs{Name: "machine", MasterIndex: br.Attrs().Index}
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns))}); err != nil {
			return err
		}
		l, err := netlink.LinkByName("machine")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	})
	if err := netns.Do(path, func() error {
		l, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(cidr)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		if err := netlink.LinkSetUp(l); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Gw: net.IPv4(10, 0, 0, 1)})
	}); err != nil {
		n.Fatal(err)
	}
}

// expectConnections checks how many IPVS has given to a server of the service.
func (n *node) expectConnections(whose, server string, want int) {
	n.Helper()
	n.eachService(func(s *moby.Service, servers []*moby.Destination) {
		if s.Address.String() != vip {
			return
		}
		for _, d := range servers {
			if d.Address.String() == server && d.ActiveConnections+d.InactiveConnections != want {
				n.Errorf("after %s connection the service's server %s has %d, want %d", whose, server, d.ActiveConnections+d.InactiveConnections, want)
			}
		}
	})
}

func TestVirtualServersOfOthersStay(t *testing.T) {
	n := newNode(t)
	h, err := moby.New(n.path)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	foreign := &moby.Service{
		Address: net.IPv4(10, 0, 0, 1).To4(), Port: 9999, Protocol: unix.IPPROTO_TCP,
		SchedName: "wlc", AddressFamily: unix.AF_INET, Netmask: 0xffffffff,
	}
	if err := h.NewService(foreign); err != nil {
		t.Fatal(err)
	}
	n.apply(corev1.ProtocolTCP, "10.0.0.12:8080")
	n.check()
	n.expectServers("a foreign server", "10.0.0.1:9999", "wlc")
	if err := n.b.Apply(n.Context(), []model.Change{{Key: "default/web"}}); err != nil {
		t.Fatal(err)
	}
	n.expectServers("our service is gone", vip+":80", "")
	n.expectServers("our node port is gone", "10.0.0.1:30080", "")
	if err := ipvs.Cleanup(n.path); err != nil {
		t.Fatal(err)
	}
	n.expectServers("a foreign server after Cleanup", "10.0.0.1:9999", "wlc")
}
