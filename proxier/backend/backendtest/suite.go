package backendtest

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/backend"
)

// Options are what differs between backends.
type Options struct {
	// Open returns the backend under test.
	Open func(testing.TB, backend.Config) backend.Backend
	// Sabotage destroys part of what the backend wrote. It runs in the node's
	// network namespace.
	Sabotage func(testing.TB)
	// Shorten has the backend remember a UDP flow for a second only, where it
	// remembers flows by itself; may be nil. It runs there too.
	Shorten func(testing.TB)
}

const (
	vip, vip6 = "10.96.0.10", "fd00:96::a"
	enough    = 60 // connections: one of three servers is missed with a chance of 1 in 10^10
)

// Run runs the suite. It skips, saying so, without root.
func Run(t *testing.T, o Options) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to make network namespaces")
	}
	for i := range features {
		f := &features[i]
		for _, client := range clients {
			if !f.about(client) {
				continue
			}
			t.Run(f.name+"/"+client, func(t *testing.T) {
				l := newLab(t, o.Open, true)
				l.shorten = o.Shorten
				f.run(l, l.clientNS(client))
			})
		}
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.run(newLab(t, o.Open, !c.openCluster), o) })
	}
}

type testCase struct {
	name        string
	openCluster bool // the pods' networks are not configured: outside clients keep their address
	run         func(l *lab, o Options)
}

var cases = []testCase{
	{name: "a cluster IP spreads connections over all endpoints of its port", run: clusterIP},
	{name: "a cluster IP keeps a client's address when pod networks are not known", openCluster: true, run: keepsSource},
	{name: "a client with affinity stays until its endpoint goes", run: affinity},
	{name: "a service without endpoints refuses at once", run: noEndpoints},
	{name: "endpoint changes leave other connections alone", run: change},
	{name: "UDP clients move on when their endpoint goes", run: udpMoves},
	{name: "an SCTP client's port does not reach an endpoint that is gone", run: sctpReuse},
	{name: "a reused client port does not reach an endpoint that is gone", run: portReuse},
	{name: "a packet that is out of its connection's window does not reach the client", run: outOfWindow},
	{name: "ports that a service does not have are refused", run: unusedPort},
	{name: "a deleted service leaves nothing", run: deleted},
	{name: "a restart disturbs nothing and removes what is stale", run: restart},
	{name: "a check repairs what others destroyed", run: repair},
}

func (l *lab) web(cluster ...string) *corev1.Service {
	if len(cluster) == 0 {
		cluster = []string{vip, vip6}
	}
	return newService("web", cluster...)
}

func (l *lab) expectAll(got map[string]int, port string, ids ...int) {
	l.Helper()
	want := map[string]bool{}
	for _, i := range ids {
		want[podName(i)+port] = true
	}
	for s := range got {
		if !want[s] {
			l.Errorf("answers from %s, not of this service port", s)
		}
	}
	if len(got) != len(want) {
		l.Errorf("answers %v, want some of each of %v", got, want)
	}
}

func (l *lab) expectSources(want ...string) {
	l.Helper()
	for s := range l.takeSources() {
		if !slices.Contains(want, s) {
			l.Errorf("servers saw client %s, want %v", s, want)
		}
	}
}

func (l *lab) expectRefused(ns netns.NsHandle, network, addr string) {
	l.Helper()
	_, err := l.dial(ns, network, addr, 0, patience)
	if network == "udp" && ns == l.node && errors.Is(err, syscall.EPERM) {
		return // what Linux tells a local sender whose datagram is rejected
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		l.Errorf("%s %s from %s: %v; want connection refused", network, addr, l.nameOf(ns), err)
	}
}

func (l *lab) nameOf(ns netns.NsHandle) string {
	switch ns {
	case l.client:
		return "the client"
	case l.node:
		return "the node"
	}
	return "a pod"
}

func (l *lab) expectSilence(ns netns.NsHandle, network, addr string) {
	l.Helper()
	c, err := l.dial(ns, network, addr, 0, shortly)
	if err == nil {
		l.Errorf("%s %s: answer from %s, want none", network, addr, c.server)
		return
	}
	if !os.IsTimeout(err) {
		l.Errorf("%s %s: %v, want silence", network, addr, err)
	}
}

func clusterIP(l *lab, _ Options) {
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{0, 1, 2})
	l.apply()
	for _, addr := range []string{vip, "[" + vip6 + "]"} {
		l.expectAll(l.spread(l.client, "tcp", addr+":80", enough), ":8080", 0, 1, 2)
		l.expectAll(l.spread(l.client, "tcp", addr+":81", enough), ":8081", 0, 1, 2)
		l.expectAll(l.spread(l.client, "udp", addr+":53", enough), ":8053", 0, 1, 2)
	}
	l.expectSources(bridgeIP, bridgeIP6) // no pod: masqueraded
	l.expectAll(l.spread(l.pod[0], "tcp", vip+":80", enough), ":8080", 0, 1, 2)
	l.expectSources(podIP(0), bridgeIP) // its own address; masqueraded to itself only
}

func keepsSource(l *lab, _ Options) {
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{0, 1, 2})
	l.apply()
	l.expectAll(l.spread(l.client, "tcp", vip+":80", enough), ":8080", 0, 1, 2)
	l.expectSources(clientIP)
}

func affinity(l *lab, _ Options) {
	s := l.web()
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	l.tracker.SetService(s)
	l.endpoints("web", []int{0, 1, 2})
	l.apply()
	for _, addr := range []string{vip, "[" + vip6 + "]"} {
		l.endpoints("web", []int{0, 1, 2})
		l.apply()
		got := l.spread(l.client, "tcp", addr+":80", 20)
		if len(got) != 1 {
			l.Errorf("%s: one client was served by %v", addr, got)
		}
		var rest []int
		for i := range pods {
			if got[podName(i)+":8080"] == 0 {
				rest = append(rest, i)
			}
		}
		l.endpoints("web", rest)
		l.apply()
		again := l.spread(l.client, "tcp", addr+":80", 20)
		if len(again) != 1 {
			l.Errorf("%s: after its endpoint went one client was served by %v", addr, again)
		}
		for s := range got {
			if again[s] > 0 {
				l.Errorf("%s: still served by %s, which is gone", addr, s)
			}
		}
	}
}

// expectUnbound checks that no link has the addresses.
func (l *lab) expectUnbound(addrs ...string) {
	l.Helper()
	l.in(l.node, func() {
		list, err := netlink.AddrList(nil, unix.AF_UNSPEC)
		l.must(err)
		for _, a := range list {
			if slices.Contains(addrs, a.IP.String()) {
				l.Errorf("%s is still on link %d", a.IP, a.LinkIndex)
			}
		}
	})
}

func noEndpoints(l *lab, _ Options) {
	s := l.web()
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports[0].NodePort = 30080
	l.tracker.SetService(s)
	l.apply()
	refused := func() {
		l.Helper()
		for _, ns := range []netns.NsHandle{l.client, l.pod[0], l.node} {
			l.expectRefused(ns, "tcp", vip+":80")
			l.expectRefused(ns, "tcp", "["+vip6+"]:80")
			l.expectRefused(ns, "udp", vip+":53")
		}
		l.expectRefused(l.client, "tcp", nodeIP+":30080")
		l.expectRefused(l.client, "tcp", "["+nodeIP6+"]:30080")
	}
	refused()
	l.endpoints("web", []int{0})
	l.apply()
	l.expectAll(l.spread(l.client, "tcp", vip+":80", 5), ":8080", 0)
	l.expectAll(l.spread(l.client, "udp", vip+":53", 5), ":8053", 0)
	l.endpoints("web", nil)
	l.apply()
	refused()
}

func change(l *lab, _ Options) {
	l.tracker.SetService(l.web())
	l.tracker.SetService(newService("other", "10.96.0.11", "fd00:96::b"))
	l.endpoints("web", []int{0, 1, 2})
	l.endpoints("other", []int{0, 1, 2})
	l.apply()
	var held []*conn
	for range 20 {
		for _, addr := range []string{vip + ":80", "10.96.0.11:80", "[" + vip6 + "]:80"} {
			c, err := l.dial(l.client, "tcp", addr, 0, patience)
			l.must(err)
			defer func() { _ = c.Close() }()
			held = append(held, c)
		}
	}
	l.endpoints("web", []int{0, 1})
	l.apply()
	l.expectAll(l.spread(l.client, "tcp", vip+":80", enough), ":8080", 0, 1)
	l.endpoints("web", []int{0})
	l.endpoints("other", []int{1})
	l.apply()
	_, err := l.backend.Check(l.Context())
	l.must(err)
	l.expectAll(l.spread(l.client, "tcp", vip+":80", enough), ":8080", 0)
	l.expectAll(l.spread(l.client, "tcp", "10.96.0.11:80", enough), ":8080", 1)
	for i, c := range held {
		// Connections to endpoints that went go on too while the pod ends.
		if err := c.echo(); err != nil {
			l.Errorf("connection %d to %s broke: %v", i, c.server, err)
		}
	}
}

func udpMoves(l *lab, _ Options) {
	s := l.web()
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports[2].NodePort = 30053
	l.tracker.SetService(s)
	for n, addr := range []string{vip + ":53", "[" + vip6 + "]:53", nodeIP + ":30053"} {
		l.endpoints("web", []int{0, 1, 2})
		l.apply()
		c, err := l.dial(l.client, "udp", addr, 20000+n, patience)
		l.must(err)
		defer func() { _ = c.Close() }()
		var rest []int
		for i := range pods {
			if c.server != podName(i)+":8053" {
				rest = append(rest, i)
			}
		}
		l.endpoints("web", rest)
		l.apply()
		// The first datagrams after a change may be lost, as any may: clients repeat them.
		again := ""
		for try := 0; again == "" && try < 10; try++ {
			again = ask(c)
		}
		if again == "" || again == c.server {
			l.Errorf("%s: answers from %q after %s went", addr, again, c.server)
		}
	}
}

func sctpReuse(l *lab, _ Options) {
	l.serveSCTP()
	s := l.web()
	s.Spec.Ports = []corev1.ServicePort{{Name: "sctp", Protocol: corev1.ProtocolSCTP, Port: 80}}
	l.tracker.SetService(s)
	l.endpoints("web", []int{0})
	l.apply()
	c, err := l.dial(l.client, "sctp", vip+":80", 23000, patience)
	l.must(err)
	l.must(c.Close())
	l.endpoints("web", []int{1})
	l.apply()
	if c, err = l.dial(l.client, "sctp", vip+":80", 23000, patience); err != nil {
		l.Fatal(err)
	}
	_ = c.Close()
	l.expectAll(map[string]int{c.server: 1}, sctpPort, 1)
}

func portReuse(l *lab, _ Options) {
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{0, 1, 2})
	l.apply()
	var first []*conn
	for i := range 12 {
		c, err := l.dial(l.client, "tcp", vip+":80", 21000+i, patience)
		l.must(err)
		first = append(first, c)
	}
	for _, c := range first {
		// Reset, so that the port is free at once while the node still remembers it.
		setLinger(c)
		_ = c.Close()
	}
	l.endpoints("web", []int{1})
	l.apply()
	for i := range first {
		c, err := l.dial(l.client, "tcp", vip+":80", 21000+i, patience)
		if err != nil {
			l.Errorf("port %d: %v", 21000+i, err)
			continue
		}
		if c.server != podName(1)+":8080" {
			l.Errorf("port %d reached %s", 21000+i, c.server)
		}
		_ = c.Close()
	}
}

func unusedPort(l *lab, _ Options) {
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{0})
	l.apply()
	l.in(l.node, func() { l.serve("node") })
	for _, ns := range []netns.NsHandle{l.client, l.pod[0], l.node} {
		l.expectRefused(ns, "tcp", vip+":8080") // the node listens there, but not for the service's clients
		l.expectRefused(ns, "tcp", "["+vip6+"]:8080")
	}
	l.expectAll(l.spread(l.client, "tcp", vip+":80", 5), ":8080", 0)
}

func deleted(l *lab, _ Options) {
	s := l.web()
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports[0].NodePort = 30080
	l.tracker.SetService(s)
	l.endpoints("web", []int{0, 1})
	l.apply()
	l.expectAll(l.spread(l.client, "tcp", nodeIP+":30080", enough), ":8080", 0, 1)
	l.tracker.DeleteService(s.Namespace, s.Name)
	l.apply()
	for _, addr := range []string{vip + ":80", "[" + vip6 + "]:80", nodeIP + ":30080"} {
		if who, err := l.dial(l.client, "tcp", addr, 0, shortly); err == nil {
			l.Errorf("%s still answers: %s", addr, who.server)
		}
	}
	l.expectUnbound(vip, vip6)
	// Its address is free for another.
	l.tracker.SetService(newService("next", vip, vip6))
	l.endpoints("next", []int{2})
	l.apply()
	l.expectAll(l.spread(l.client, "tcp", vip+":80", 10), ":8080", 2)
}

func restart(l *lab, _ Options) {
	s := l.web()
	s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	l.tracker.SetService(s)
	l.tracker.SetService(newService("gone", "10.96.0.11"))
	l.endpoints("web", []int{0, 1, 2})
	l.endpoints("gone", []int{0, 1, 2})
	l.apply()
	held, err := l.dial(l.client, "tcp", vip+":80", 0, patience)
	l.must(err)
	defer func() { _ = held.Close() }()
	l.tracker.DeleteService("default", "gone")
	l.tracker.Changes() // while the process is away
	l.restart()
	if err := held.echo(); err != nil {
		l.Errorf("the restart broke a connection: %v", err)
	}
	if got := l.spread(l.client, "tcp", vip+":80", 10); got[held.server] != 10 {
		l.Errorf("a client of %s was served by %v after the restart", held.server, got)
	}
	if who, err := l.dial(l.client, "tcp", "10.96.0.11:80", 0, shortly); err == nil {
		l.Errorf("a service deleted meanwhile still answers: %s", who.server)
	}
	l.expectUnbound("10.96.0.11")
	n, err := l.backend.Check(l.Context())
	l.must(err)
	if n != 0 {
		l.Errorf("the check after a restart repaired %d things, want none", n)
	}
}

func repair(l *lab, o Options) {
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{0, 1, 2})
	l.apply()
	n, err := l.backend.Check(l.Context())
	l.must(err)
	if n != 0 {
		l.Errorf("the check repaired %d things though nothing was wrong", n)
	}
	l.in(l.node, func() { o.Sabotage(l) })
	if who, err := l.dial(l.client, "tcp", vip+":80", 0, shortly); err == nil {
		l.Errorf("sabotage left the service working: %s", who.server)
	}
	n, err = l.backend.Check(l.Context())
	l.must(err)
	if n == 0 {
		l.Error("the check repaired nothing")
	}
	l.expectAll(l.spread(l.client, "tcp", vip+":80", enough), ":8080", 0, 1, 2)
	l.expectAll(l.spread(l.client, "udp", vip+":53", enough), ":8053", 0, 1, 2)
	l.endpoints("web", []int{2})
	l.apply()
	l.expectAll(l.spread(l.client, "tcp", vip+":80", 10), ":8080", 2)
}
