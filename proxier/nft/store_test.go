package nft_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/proxier/nft"
)

var table = nft.Table{Family: nft.IP, Name: "store-test"}

func open(t *testing.T) (path string, c *nft.Conn) {
	t.Helper()
	path = netnstest.New(t)
	return path, connect(t, path)
}

func connect(t *testing.T, path string) *nft.Conn {
	t.Helper()
	c, err := nft.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// layout is a table with a set, a map, a verdict map and a set of ranges.
type layout struct {
	nft.Layout
	ports, servers, chains, ranges *nft.Set
}

func newLayout() layout {
	l := layout{
		ports:   &nft.Set{Table: table, Name: "ports", Key: []nft.Type{nft.Service}},
		servers: &nft.Set{Table: table, Name: "servers", Key: []nft.Type{nft.Mark, nft.Mark}, Data: []nft.Type{nft.Addr4, nft.Service}},
		chains:  &nft.Set{Table: table, Name: "chains", Key: []nft.Type{nft.Service}, Verdict: true},
		ranges:  &nft.Set{Table: table, Name: "ranges", Key: []nft.Type{nft.Service, nft.Addr4}, Interval: true},
	}
	l.Layout = nft.Layout{
		Table: table,
		Sets:  []*nft.Set{l.ports, l.servers, l.chains, l.ranges},
		Chains: []*nft.Chain{{
			Name:  "input",
			Hook:  &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_IN},
			Rules: [][]expr.Any{nft.Rule(nft.ProtoDport(nft.Reg0), nft.Vmap(l.chains, nft.Reg0+1))},
		}},
	}
	return l
}

func port(p uint16) []byte { return binary.BigEndian.AppendUint16(nil, p) }

func in(s *nft.Set, e nft.Element) nft.Entry { return nft.Entry{Set: s, Element: e} }

// contents returns what the kernel has in a set, sorted.
func contents(t *testing.T, c *nft.Conn, s *nft.Set) []string {
	t.Helper()
	out := []string{}
	err := c.Elements(s, func(e nft.Element) { out = append(out, fmt.Sprintf("%x-%x:%x%s", e.Key, e.End, e.Data, e.Verdict)) })
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(out)
	return out
}

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, s *nft.Store, want int) {
	t.Helper()
	n, err := s.Check()
	if err != nil || n != want {
		t.Errorf("the check repaired %d (%v), want %d", n, err, want)
	}
}

func TestTheKernelHasWhatIsWanted(t *testing.T) {
	_, c := open(t)
	l := newLayout()
	s := nft.NewStore(c, l.Layout)
	drop := []*nft.Chain{{Name: "drop", Rules: [][]expr.Any{nft.Rule(nft.DropPacket())}}}
	key := binary.NativeEndian.AppendUint32(nft.Uint32(7), 1)
	first := []nft.Entry{
		in(l.ports, nft.Element{Key: port(80)}),
		in(l.servers, nft.Element{Key: key, Data: []byte{10, 0, 0, 1, 0, 80, 0, 0}}),
		in(l.chains, nft.Element{Key: port(80), Verdict: "drop"}),
		in(l.chains, nft.Element{Key: port(81), Verdict: nft.Drop}),
		in(l.ranges, nft.Element{Key: append(port(80), 0, 0, 10, 0, 0, 0), End: append(port(80), 0, 0, 10, 255, 255, 255)}),
	}
	must(t, s.Update(nil, first, map[nft.Table][]*nft.Chain{table: drop}))
	expect(t, "a set", contents(t, c, l.ports), "0050-:")
	expect(t, "a map", contents(t, c, l.servers), fmt.Sprintf("%x-:0a00000100500000", key))
	expect(t, "a verdict map", contents(t, c, l.chains), "0050-:drop", "0051-:"+nft.Drop)
	expect(t, "ranges", contents(t, c, l.ranges), "005000000a000000-005000000affffff:")
	check(t, s, 0)

	second := slices.Clone(first)
	second[1].Data = []byte{10, 0, 0, 2, 0, 80, 0, 0}
	second[3].Verdict = "drop"
	must(t, s.Update(first, second[:4], nil))
	expect(t, "changed data", contents(t, c, l.servers), fmt.Sprintf("%x-:0a00000200500000", key))
	expect(t, "a changed verdict", contents(t, c, l.chains), "0050-:drop", "0051-:drop")
	expect(t, "a range that went", contents(t, c, l.ranges))
	must(t, s.Update(second[:4], nil, nil))
	expect(t, "all gone", contents(t, c, l.ports))
}

func TestWhatSeveralWantStaysUntilTheLastGoes(t *testing.T) {
	_, c := open(t)
	l := newLayout()
	s := nft.NewStore(c, l.Layout)
	e := []nft.Entry{in(l.ports, nft.Element{Key: port(80)})}
	must(t, s.Update(nil, append(e, e...), nil))
	must(t, s.Update(e, nil, nil))
	expect(t, "one went", contents(t, c, l.ports), "0050-:")
	must(t, s.Update(e, nil, nil))
	expect(t, "the last went", contents(t, c, l.ports))
}

func TestChangesOfOthersAreFoundAndRepaired(t *testing.T) {
	path, c := open(t)
	other := connect(t, path)
	l := newLayout()
	s := nft.NewStore(c, l.Layout)
	e := []nft.Entry{in(l.ports, nft.Element{Key: port(80)}), in(l.ports, nft.Element{Key: port(81)})}
	must(t, s.Update(nil, e, nil))

	var b nft.Batch
	b.DeleteElements(l.ports, []nft.Element{{Key: port(80)}})
	b.AddElements(l.ports, []nft.Element{{Key: port(99)}})
	must(t, other.Commit(&b))
	check(t, s, 2)
	expect(t, "after a repair", contents(t, c, l.ports), "0050-:", "0051-:")
	check(t, s, 0)

	b = nft.Batch{}
	b.SetRules(table, &nft.Chain{Name: "input"})
	must(t, other.Commit(&b))
	check(t, s, 1)
	rules, err := c.CountRules(table)
	must(t, err)
	if rules["input"] != 1 {
		t.Errorf("rules %v, want the one of the layout", rules)
	}

	must(t, nft.Remove(other, table))
	check(t, s, 1)
	expect(t, "after the table was removed", contents(t, c, l.ports), "0050-:", "0051-:")

	// A change meets a kernel that somebody has changed: all or nothing, then right.
	b = nft.Batch{}
	b.DeleteElements(l.ports, []nft.Element{{Key: port(80)}})
	must(t, other.Commit(&b))
	if err := s.Update(e[:1], nil, nil); err == nil {
		t.Error("the removal of an element that is gone succeeded")
	}
	must(t, s.Update(nil, []nft.Entry{in(l.ports, nft.Element{Key: port(82)})}, nil))
	expect(t, "after a failed change", contents(t, c, l.ports), "0051-:", "0052-:")
}

func TestANewProcessAdoptsWhatIsThere(t *testing.T) {
	path, c := open(t)
	l := newLayout()
	e := []nft.Entry{in(l.ports, nft.Element{Key: port(80)}), in(l.ports, nft.Element{Key: port(81)})}
	chain := map[nft.Table][]*nft.Chain{table: {{Name: "old", Rules: [][]expr.Any{nft.Rule(nft.DropPacket())}}}}
	must(t, nft.NewStore(c, l.Layout).Update(nil, append(e, in(l.chains, nft.Element{Key: port(1), Verdict: "old"})), chain))

	l2 := newLayout()
	s := nft.NewStore(connect(t, path), l2.Layout)
	must(t, s.Update(nil, []nft.Entry{in(l2.ports, nft.Element{Key: port(81)}), in(l2.ports, nft.Element{Key: port(82)})}, nil))
	expect(t, "elements", contents(t, c, l.ports), "0051-:", "0052-:")
	chains, err := c.Chains(table)
	must(t, err)
	if !slices.Equal(chains, []string{"input"}) {
		t.Errorf("chains %v, want input alone", chains)
	}
	check(t, s, 0)
}

func TestATableOfAnotherMakeIsReplaced(t *testing.T) {
	path, c := open(t)
	l := newLayout()
	l.ports.Key = []nft.Type{nft.Addr4}
	must(t, nft.NewStore(c, l.Layout).Update(nil, []nft.Entry{in(l.ports, nft.Element{Key: []byte{10, 0, 0, 1}})}, nil))
	l2 := newLayout()
	must(t, nft.NewStore(connect(t, path), l2.Layout).Update(nil, []nft.Entry{in(l2.ports, nft.Element{Key: port(80)})}, nil))
	expect(t, "elements", contents(t, c, l2.ports), "0050-:")
}

func TestALargeBatchIsOneChange(t *testing.T) {
	_, c := open(t)
	l := newLayout()
	s := nft.NewStore(c, l.Layout)
	var e []nft.Entry
	for i := range uint32(20_000) {
		e = append(e, in(l.servers, nft.Element{Key: binary.NativeEndian.AppendUint32(nft.Uint32(i), i), Data: make([]byte, 8)}))
	}
	must(t, s.Update(nil, e, nil))
	if n := len(contents(t, c, l.servers)); n != len(e) {
		t.Errorf("%d elements, want %d", n, len(e))
	}
	check(t, s, 0)
}

func TestAMissingNamespaceIsNamed(t *testing.T) {
	if _, err := nft.Open("/run/netns/there-is-none"); err == nil {
		t.Error("opened a namespace that does not exist")
	}
}
