package policy_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/nodeagent/network"
	"github.com/skiffcluster/skiff/nodeagent/network/policy"
)

// lab is a node with three pods, in namespaces of the kernel's: a, which
// policies are about, b and c. Namespace x holds a and b, y holds c.
type lab struct {
	t     *testing.T
	paths map[string]string
	addrs map[string][]netip.Addr
	model *policy.Model
	table *policy.Table
}

// inLab runs f in a network namespace of its own, which plays the node. The
// thread is never given back.
func inLab(t *testing.T, f func(l *lab)) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	netnstest.Inside(t, netnstest.New(t), func() { f(newLab(t)) })
}

func newLab(t *testing.T) *lab {
	t.Helper()
	ctx := context.Background()
	l := &lab{t: t, paths: map[string]string{}, addrs: map[string][]netip.Addr{}, model: policy.NewModel(), table: policy.NewTable("policies")}
	bridge, err := network.NewBridge(network.BridgeConfig{Dir: t.TempDir()})
	if err == nil {
		err = bridge.SetCIDRs(ctx, []netip.Prefix{netip.MustParsePrefix("10.70.0.0/24"), netip.MustParsePrefix("fd70::/64")})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(bridge.Close)
	l.model.SetNamespace("x", map[string]string{"ns": "x"})
	l.model.SetNamespace("y", map[string]string{"ns": "y"})
	for _, name := range []string{"a", "b", "c"} {
		path := netnstest.New(t)
		ips, err := bridge.Attach(ctx, network.Pod{ID: name, NetNS: path})
		if err != nil {
			t.Fatal(err)
		}
		l.paths[name], l.addrs[name] = path, ips
		l.pod(name, map[string]string{"pod": name})
	}
	return l
}

func (l *lab) pod(name string, labels map[string]string) {
	ns := "x"
	if name == "c" {
		ns = "y"
	}
	l.model.SetPod(types.NamespacedName{Namespace: ns, Name: name}, &policy.Pod{
		Labels: labels, IPs: l.addrs[name], Local: true, Ports: []policy.Port{{Name: "web", Protocol: 6, Number: 80}},
	})
}

// in calls f in a pod's namespace, or on the node when path is empty.
func (l *lab) in(name string, f func() error) error {
	l.t.Helper()
	return netns.Do(l.paths[name], f)
}

// serve echoes on a port by TCP and UDP, of both IP versions.
func (l *lab) serve(name string, port int) {
	l.t.Helper()
	err := l.in(name, func() error {
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		l.t.Cleanup(func() { listener.Close() })
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go echo(conn)
			}
		}()
		packets, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		l.t.Cleanup(func() { packets.Close() })
		go func() {
			buf := make([]byte, 100)
			for {
				n, from, err := packets.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = packets.WriteTo(buf[:n], from)
			}
		}()
		return nil
	})
	if err != nil {
		l.t.Fatal(err)
	}
}

func echo(conn net.Conn) {
	defer conn.Close()
	buf := make([]byte, 100)
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return
		}
		if _, err := conn.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (l *lab) dial(from, to, protocol string, port, version int, patience time.Duration) (net.Conn, error) {
	ip := l.addrs[to][0]
	if version == 6 {
		ip = l.addrs[to][1]
	}
	var conn net.Conn
	err := l.in(from, func() (err error) {
		conn, err = (&net.Dialer{Timeout: patience}).Dial(protocol, netip.AddrPortFrom(ip, uint16(port)).String())
		return err
	})
	return conn, err
}

// A packet that is dropped is waited for in vain; one that is not comes at once,
// unless the machine is busy.
const (
	vain     = 200 * time.Millisecond
	patience = 10 * time.Second
)

func ping(conn net.Conn, patience time.Duration) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("hello")); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 100))
	return err
}

// check sends real packets: "from to port/protocol[6]".
func (l *lab) check(when string, want bool, lines ...string) {
	l.t.Helper()
	for _, line := range lines {
		words := strings.Fields(line)
		var port int
		var protocol string
		if _, err := fmt.Sscanf(strings.ReplaceAll(words[2], "/", " "), "%d %s", &port, &protocol); err != nil {
			l.t.Fatal(err)
		}
		version := 4
		if base, ok := strings.CutSuffix(protocol, "6"); ok {
			protocol, version = base, 6
		}
		wait := vain
		if want {
			wait = patience
		}
		conn, err := l.dial(words[0], words[1], protocol, port, version, wait)
		if err == nil {
			err = ping(conn, wait)
			conn.Close()
		}
		var late net.Error
		if want && err != nil || !want && (!errors.As(err, &late) || !late.Timeout()) {
			l.t.Errorf("%s: %s: got %v, want that it is allowed: %v", when, line, err, want)
		}
	}
}

func (l *lab) write() {
	l.t.Helper()
	if err := l.table.Write(l.model.State()); err != nil {
		l.t.Fatal(err)
	}
}

func TestRealPackets(t *testing.T) {
	inLab(t, func(l *lab) {
		for _, pod := range []string{"a", "b", "c"} {
			l.serve(pod, 80)
			l.serve(pod, 81)
		}
		l.check("without policies", true, "b a 80/tcp", "c a 81/udp", "a b 80/tcp6", "node a 80/tcp", "b a 80/udp6")

		set(t, l.model, "deny", denyAll)
		l.write()
		l.check("default deny", false, "b a 80/tcp", "c a 81/udp", "a c 80/tcp", "c a 80/tcp6", "c a 80/udp6")
		l.check("default deny lets a pod reach itself, and its node reach it", true, "a a 80/tcp", "a a 80/tcp6", "node a 80/tcp", "node a 80/udp", "node a 80/tcp6")
		err := l.in("a", func() error {
			conn, err := net.DialTimeout("tcp", "10.70.0.1:1", time.Second)
			if err == nil {
				conn.Close()
			}
			return err
		})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("from an isolated pod to its own node: got %v, want a refusal, which is an answer", err)
		}

		set(t, l.model, "from-b", `{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{podSelector: {matchLabels: {pod: b}}}], ports: [{port: web}]}]}`)
		l.write()
		l.check("b's egress is not allowed yet", false, "b a 80/tcp")
		set(t, l.model, "to-a", `{podSelector: {matchLabels: {pod: b}}, egress: [{to: [{podSelector: {matchLabels: {pod: a}}}]}], policyTypes: [Egress]}`)
		l.write()
		l.check("b to a named port", true, "b a 80/tcp", "b a 80/tcp6")
		l.check("b to other ports, others to that port", false, "b a 81/tcp", "b a 80/udp", "c a 80/tcp", "b c 80/tcp")

		// Connections that exist go on; new ones don't come through.
		conn, err := l.dial("b", "a", "tcp", 80, 4, patience)
		if err == nil {
			err = ping(conn, patience)
		}
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		l.pod("b", map[string]string{"pod": "other"})
		l.write()
		l.check("when b has other labels", false, "b a 80/tcp")
		if err := ping(conn, patience); err != nil {
			t.Errorf("a connection that was there: %v", err)
		}
		l.pod("b", map[string]string{"pod": "b"})
		l.write()
		l.check("when b has its labels again", true, "b a 80/tcp")

		set(t, l.model, "blocks", fmt.Sprintf(`{podSelector: {matchLabels: {pod: a}}, ingress: [{from: [{ipBlock: {cidr: 10.70.0.0/24, except: [%s/32]}}], ports: [{protocol: UDP, port: 80, endPort: 81}]}]}`, l.addrs["b"][0]))
		l.write()
		l.check("a block and a range of ports", true, "c a 80/udp", "c a 81/udp")
		l.check("what is excepted, and other protocols", false, "b a 81/udp", "c a 80/tcp", "c a 80/udp6")

		// Somebody else removes our table, or parts of it.
		table := &nftables.Table{Family: nftables.TableFamilyINet, Name: "policies"}
		verdicts := &nftables.Set{Table: table, Name: "ingress4", IsMap: true, KeyType: nftables.TypeIPAddr, DataType: nftables.TypeVerdict}
		for what, remove := range map[string]func(c *nftables.Conn){
			"the table":    func(c *nftables.Conn) { c.DelTable(table) },
			"its rules":    func(c *nftables.Conn) { c.FlushTable(table) },
			"a base chain": func(c *nftables.Conn) { c.FlushChain(&nftables.Chain{Name: "base-ingress", Table: table}) },
			"the verdicts": func(c *nftables.Conn) { c.FlushSet(verdicts) },
		} {
			c, err := nftables.New()
			if err == nil {
				remove(c)
				err = c.Flush()
			}
			if err != nil {
				t.Fatal(err)
			}
			l.check("without "+what, true, "c a 80/tcp")
			if err := l.table.Check(); err != nil {
				t.Fatal(err)
			}
			l.check("repaired "+what, false, "c a 80/tcp", "b a 81/udp")
		}
		before := rules(t, table)
		if err := l.table.Check(); err != nil {
			t.Fatal(err)
		}
		if after := rules(t, table); !slices.Equal(before, after) {
			t.Error("a check of what is whole wrote it anew")
		}

		// An agent that starts again knows nothing of the table.
		l.table = policy.NewTable("policies")
		l.write()
		l.check("after a restart", false, "c a 80/tcp")
		l.check("after a restart", true, "b a 80/tcp", "c a 81/udp")
		for _, name := range []string{"deny", "from-b", "to-a", "blocks"} {
			l.model.DeletePolicy(types.NamespacedName{Namespace: "x", Name: name})
			l.write()
		}
		l.check("without policies again", true, "c a 80/tcp", "a c 81/udp6")
	})
}

// rules are the handles of a table's, which are others once it is written anew.
func rules(t *testing.T, table *nftables.Table) []uint64 {
	t.Helper()
	c, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	var handles []uint64
	for _, chain := range []string{"base-ingress", "base-egress"} {
		list, err := c.GetRules(table, &nftables.Chain{Name: chain, Table: table})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			handles = append(handles, r.Handle)
		}
	}
	return handles
}

// TestManyPods: sets larger than one message of netlink's.
func TestManyPods(t *testing.T) {
	inLab(t, func(l *lab) {
		l.serve("a", 80)
		a := netip.MustParseAddr("10.99.0.0")
		for i := range 5000 {
			a = a.Next()
			l.model.SetPod(types.NamespacedName{Namespace: "y", Name: fmt.Sprint(i)}, &policy.Pod{Labels: map[string]string{"pod": "many"}, IPs: []netip.Addr{a}})
		}
		set(t, l.model, "many", `{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {ns: "y"}}}]}]}`)
		l.write()
		l.check("one of many", true, "c a 80/tcp")
		l.check("none of many", false, "b a 80/tcp")
		for i := range 4000 {
			l.model.DeletePod(types.NamespacedName{Namespace: "y", Name: fmt.Sprint(i)})
		}
		l.write()
		l.model.DeletePod(types.NamespacedName{Namespace: "y", Name: "c"})
		l.write()
		l.check("gone from many", false, "c a 80/tcp")
	})
}
