package backendtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/model"
)

// patience is how long an answer may take that must come; shortly is how long
// we listen for one that must not come.
const (
	patience = 5 * time.Second
	shortly  = 300 * time.Millisecond
)

// Addresses in the lab: a client outside of the cluster, the node, and pods on
// the node's bridge.
const (
	clientIP, clientIP6 = "10.0.1.2", "fd00:1::2"
	nodeIP, nodeIP6     = "10.0.1.1", "fd00:1::1"
	bridgeIP, bridgeIP6 = "10.0.2.1", "fd00:2::1"
	podCIDR, podCIDR6   = "10.0.2.0/24", "fd00:2::/64"
	nodeName, zone      = "node", "here"
	pods                = 3
)

func podIP(i int) string  { return fmt.Sprintf("10.0.2.%d", 11+i) }
func podIP6(i int) string { return fmt.Sprintf("fd00:2::%d", 11+i) }
func podName(i int) string {
	return fmt.Sprintf("pod%d", i)
}

// lab is a node in a network namespace, with a client and pods in others.
type lab struct {
	testing.TB
	client, node netns.NsHandle
	pod          [pods]netns.NsHandle

	tracker *model.Tracker
	backend backend.Backend
	open    func(testing.TB, backend.Config) backend.Backend
	cfg     backend.Config
	shorten func(testing.TB) // Options' Shorten

	slices map[string]*discoveryv1.EndpointSlice // as given to the tracker, by name

	mu      sync.Mutex
	sources map[string]int // client addresses that servers saw
}

func newLab(t testing.TB, open func(testing.TB, backend.Config) backend.Backend, masqueradeOutside bool) *lab {
	t.Helper()
	l := &lab{TB: t, open: open, tracker: model.NewTracker(model.Node{Name: nodeName, Zone: zone}), sources: map[string]int{}, slices: map[string]*discoveryv1.EndpointSlice{}}
	l.client, l.node = l.newNS(), l.newNS()
	l.in(l.node, func() {
		l.sysctl("net.ipv4.ip_forward", "1")
		l.sysctl("net.ipv6.conf.all.forwarding", "1")
		// Present where bridges may pass packets to netfilter; the proxier itself
		// asks for it too.
		_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-iptables", []byte("1"), 0o644)
		_ = os.WriteFile("/proc/sys/net/bridge/bridge-nf-call-ip6tables", []byte("1"), 0o644)
		l.veth("c0", l.client)
		l.address("c0", nodeIP+"/24", nodeIP6+"/64")
		l.must(netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
		l.address("br0", bridgeIP+"/24", bridgeIP6+"/64")
		l.route(clientIP, clientIP6)
	})
	l.in(l.client, func() {
		l.address("eth0", clientIP+"/24", clientIP6+"/64")
		l.route(nodeIP, nodeIP6)
	})
	for i := range l.pod {
		l.pod[i] = l.newNS()
		l.in(l.node, func() {
			name := fmt.Sprintf("p%d", i)
			l.veth(name, l.pod[i])
			port, err := netlink.LinkByName(name)
			l.must(err)
			bridge, err := netlink.LinkByName("br0")
			l.must(err)
			l.must(netlink.LinkSetMaster(port, bridge))
			l.must(netlink.LinkSetHairpin(port, true))
		})
		l.in(l.pod[i], func() {
			l.address("eth0", podIP(i)+"/24", podIP6(i)+"/64")
			l.route(bridgeIP, bridgeIP6)
			l.serve(podName(i))
		})
	}
	l.cfg.NetNS = fmt.Sprintf("/proc/self/fd/%d", int(l.node))
	if masqueradeOutside {
		l.cfg.ClusterCIDRs = []netip.Prefix{netip.MustParsePrefix(podCIDR), netip.MustParsePrefix(podCIDR6)}
	}
	l.backend = open(t, l.cfg)
	t.Cleanup(func() { _ = l.backend.Close() })
	l.apply()
	return l
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// in runs f on a thread in the namespace.
func (l *lab) in(ns netns.NsHandle, f func()) {
	l.Helper()
	ended := errors.New("ended early")
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		err := ended           // stays so when f fails the test
		defer func() { done <- err }()
		if e := netns.Set(ns); e != nil {
			err = fmt.Errorf("enter namespace: %w", e)
			return
		}
		f()
		err = nil
	}()
	if err := <-done; errors.Is(err, ended) {
		l.FailNow()
	} else if err != nil {
		l.Fatal(err)
	}
}

func (l *lab) newNS() netns.NsHandle {
	l.Helper()
	type result struct {
		ns  netns.NsHandle
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread()
		ns, err := netns.New()
		done <- result{ns, err}
	}()
	r := <-done
	l.must(r.err)
	l.Cleanup(func() { _ = r.ns.Close() })
	l.in(r.ns, func() {
		lo, err := netlink.LinkByName("lo")
		l.must(err)
		l.must(netlink.LinkSetUp(lo))
	})
	return r.ns
}

func (l *lab) sysctl(name, value string) {
	l.must(os.WriteFile("/proc/sys/"+strings.ReplaceAll(name, ".", "/"), []byte(value), 0o644))
}

func (l *lab) veth(name string, peer netns.NsHandle) {
	l.must(netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(peer)),
	}))
	link, err := netlink.LinkByName(name)
	l.must(err)
	l.must(netlink.LinkSetUp(link))
}

func (l *lab) address(link string, cidrs ...string) {
	ln, err := netlink.LinkByName(link)
	l.must(err)
	l.must(netlink.LinkSetUp(ln))
	for _, c := range cidrs {
		a, err := netlink.ParseAddr(c)
		l.must(err)
		if a.IP.To4() == nil {
			a.Flags = unix.IFA_F_NODAD
		}
		l.must(netlink.AddrAdd(ln, a))
	}
}

func (l *lab) route(gateways ...string) {
	for _, g := range gateways {
		l.must(netlink.RouteAdd(&netlink.Route{Gw: net.ParseIP(g)}))
	}
}

// serve answers on TCP 8080 and 8081 and UDP 8053 with "name client-address",
// then echoes.
func (l *lab) serve(name string) {
	for _, port := range []string{":8080", ":8081"} {
		ln, err := net.Listen("tcp", port)
		l.must(err)
		l.Cleanup(func() { _ = ln.Close() })
		go func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				l.saw(c.RemoteAddr())
				go func() {
					defer func() { _ = c.Close() }()
					_, _ = fmt.Fprintf(c, "%s%s\n", name, port)
					_, _ = io.Copy(c, c)
				}()
			}
		}()
	}
	pc, err := net.ListenPacket("udp", ":8053")
	l.must(err)
	l.Cleanup(func() { _ = pc.Close() })
	go func() {
		b := make([]byte, 2048)
		for {
			_, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			l.saw(from)
			_, _ = pc.WriteTo([]byte(name+":8053\n"), from)
		}
	}()
}

func (l *lab) saw(a net.Addr) {
	host, _, _ := net.SplitHostPort(a.String())
	l.mu.Lock()
	l.sources[host]++
	l.mu.Unlock()
}

// takeSources returns the client addresses that servers saw since it was called last.
func (l *lab) takeSources() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sources
	l.sources = map[string]int{}
	return s
}

// conn is a connection through a service.
type conn struct {
	net.Conn
	r      *bufio.Reader
	server string // who answered
}

// dial connects by network ("tcp" or "udp") from the namespace, from the port
// unless that is 0, and reads who answers.
func (l *lab) dial(ns netns.NsHandle, network, addr string, fromPort int, timeout time.Duration) (*conn, error) {
	l.Helper()
	var c *conn
	var err error
	l.in(ns, func() {
		d := net.Dialer{Timeout: timeout, Control: reuse}
		if fromPort != 0 {
			if network == "udp" {
				d.LocalAddr = &net.UDPAddr{Port: fromPort}
			} else {
				d.LocalAddr = &net.TCPAddr{Port: fromPort}
			}
		}
		var nc net.Conn
		if network == "sctp" {
			nc, err = dialSCTP(addr, fromPort, timeout)
		} else {
			nc, err = d.Dial(network, addr)
		}
		if err != nil {
			return
		}
		c = &conn{Conn: nc, r: bufio.NewReader(nc)}
		_ = nc.SetDeadline(time.Now().Add(timeout))
		if network == "udp" {
			if _, err = nc.Write([]byte("who\n")); err != nil {
				return
			}
		}
		c.server, err = c.r.ReadString('\n')
		c.server = strings.TrimSpace(c.server)
	})
	if err != nil && c != nil {
		_ = c.Close()
	}
	return c, err
}

// get returns who answers one connection.
func (l *lab) get(ns netns.NsHandle, network, addr string) (string, error) {
	l.Helper()
	c, err := l.dial(ns, network, addr, 0, patience)
	if err != nil {
		return "", err
	}
	_ = c.Close()
	return c.server, nil
}

// spread makes connections and counts who answers.
func (l *lab) spread(ns netns.NsHandle, network, addr string, n int) map[string]int {
	l.Helper()
	got := map[string]int{}
	for i := range n {
		s, err := l.get(ns, network, addr)
		if err != nil {
			l.Fatalf("connection %d to %s %s: %v", i, network, addr, err)
		}
		got[s]++
	}
	return got
}

// echo tells whether the connection still works.
func (c *conn) echo() error {
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte("still there\n")); err != nil {
		return err
	}
	s, err := c.r.ReadString('\n')
	if err == nil && s != "still there\n" {
		err = fmt.Errorf("echoed %q", s)
	}
	return err
}

func (l *lab) apply() {
	l.Helper()
	l.must(l.backend.Apply(l.Context(), l.tracker.Changes()))
}

// restart opens the backend anew, as a new process would, and gives it everything.
func (l *lab) restart() {
	l.Helper()
	l.must(l.backend.Close())
	l.backend = l.open(l, l.cfg)
	var all []model.Change
	l.tracker.Services(func(s *model.Service) { all = append(all, model.Change{Key: s.Key, Service: s}) })
	l.must(l.backend.Apply(l.Context(), all))
}

func newService(name string, cluster ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = cluster[0], cluster
	s.Spec.Ports = []corev1.ServicePort{
		{Name: "web", Protocol: corev1.ProtocolTCP, Port: 80},
		{Name: "admin", Protocol: corev1.ProtocolTCP, Port: 81},
		{Name: "dns", Protocol: corev1.ProtocolUDP, Port: 53},
	}
	return s
}

// endpoints gives the service these pods, in both families. Those in remote are
// said to be on another node.
func (l *lab) endpoints(service string, ids []int, remote ...int) {
	away := map[int]bool{}
	for _, i := range remote {
		away[i] = true
	}
	for family, ip := range map[discoveryv1.AddressType]func(int) string{
		discoveryv1.AddressTypeIPv4: podIP, discoveryv1.AddressTypeIPv6: podIP6,
	} {
		s := &discoveryv1.EndpointSlice{AddressType: family}
		s.Name, s.Namespace = service+"-"+strings.ToLower(string(family)), "default"
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		for _, p := range []struct {
			name     string
			protocol corev1.Protocol
			port     int32
		}{{"web", corev1.ProtocolTCP, 8080}, {"admin", corev1.ProtocolTCP, 8081}, {"dns", corev1.ProtocolUDP, 8053}, {"sctp", corev1.ProtocolSCTP, 8132}} {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.name, Protocol: &p.protocol, Port: &p.port})
		}
		for _, i := range ids {
			node := nodeName
			if away[i] {
				node = "another"
			}
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip(i)}, NodeName: &node})
		}
		l.slices[s.Name] = s
		l.tracker.SetSlice(s)
	}
}

// eachSlice changes the service's slices.
func (l *lab) eachSlice(service string, change func(*discoveryv1.EndpointSlice)) {
	for name, s := range l.slices {
		if s.Labels[discoveryv1.LabelServiceName] == service {
			s = s.DeepCopy()
			change(s)
			l.slices[name] = s
			l.tracker.SetSlice(s)
		}
	}
}

func reuse(_, _ string, c syscall.RawConn) error {
	var err error
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) }); e != nil {
		return e
	}
	return err
}

// ask sends one datagram and returns who answers; empty when nobody does.
func ask(c *conn) string {
	_ = c.SetDeadline(time.Now().Add(shortly))
	if _, err := c.Write([]byte("who\n")); err != nil {
		return ""
	}
	s, err := c.r.ReadString('\n')
	if err != nil {
		c.r.Reset(c.Conn)
		return ""
	}
	return strings.TrimSpace(s)
}

// setLinger makes Close send a reset.
func setLinger(c *conn) {
	if tc, ok := c.Conn.(*net.TCPConn); ok {
		_ = tc.SetLinger(0)
	}
}
