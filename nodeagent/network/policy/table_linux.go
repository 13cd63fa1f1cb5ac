package policy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Table is an nftables table that holds a State. It is not safe for concurrent
// use.
type Table struct {
	table *nftables.Table
	// held is what was written; nil when that is not known.
	held *State
}

// NewTable is the table of a name in the network namespace that Write is called
// in. Nothing is written before.
func NewTable(name string) *Table {
	return &Table{table: &nftables.Table{Name: name, Family: nftables.TableFamilyINet}}
}

// bufferSize holds the largest batch: the kernel takes all of it at once.
const bufferSize = 32 << 20

func connect() (*nftables.Conn, error) {
	c, err := nftables.New(nftables.WithSockOptions(func(c *netlink.Conn) error {
		return errors.Join(c.SetWriteBuffer(bufferSize), c.SetReadBuffer(bufferSize))
	}))
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return c, nil
}

// Remove deletes the table.
func (t *Table) Remove() error {
	t.held = nil
	c, err := connect()
	if err != nil {
		return err
	}
	c.AddTable(t.table)
	c.DelTable(t.table)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove table %s: %w", t.table.Name, err)
	}
	return nil
}

// Write makes the table hold s, which must not be changed afterwards. It writes
// what differs from before, or everything after a failure, in one transaction.
func (t *Table) Write(s *State) error {
	if t.held != nil {
		if err := t.commit(s, t.held, false); err == nil {
			t.held = s
			return nil
		}
		// Somebody else has changed the table: make it anew.
	}
	t.held = nil
	if err := t.commit(s, &State{}, true); err != nil {
		return fmt.Errorf("write table %s: %w", t.table.Name, err)
	}
	t.held = s
	return nil
}

// Check writes everything anew if somebody has removed the table, or chains,
// rules or elements of it.
func (t *Table) Check() error {
	if t.held == nil {
		return nil
	}
	whole, err := t.whole()
	if whole || err != nil {
		return err
	}
	s := t.held
	t.held = nil
	return t.Write(s)
}

// whole tells whether the kernel's chains and sets have as many rules and
// elements as were written.
func (t *Table) whole() (bool, error) {
	c, err := connect()
	if err != nil {
		return false, err
	}
	w := writer{Conn: c, table: t.table}
	chains := map[string]int{baseChain("ingress"): baseRules, baseChain("egress"): baseRules}
	for name, rules := range t.held.Chains {
		chains[name] = len(rules)
	}
	for name, want := range chains {
		rules, err := c.GetRules(t.table, &nftables.Chain{Name: name, Table: t.table})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, fmt.Errorf("read chain %s: %w", name, err)
		}
		if len(rules) != want {
			return false, nil
		}
	}
	sets := map[*nftables.Set]int{}
	for name, set := range t.held.Sets {
		n := 0
		for e := range set.Elements {
			n += len(set.Kind.encode(e))
		}
		sets[w.describe(name, set)] = n
	}
	for _, ipv6 := range []bool{false, true} {
		sets[w.selfSet(ipv6)] = len(isolated(t.held, ipv6))
		for name, m := range map[string]map[netip.Addr]string{"ingress": t.held.Ingress, "egress": t.held.Egress} {
			n := 0
			for ip := range m {
				if ip.Is6() == ipv6 {
					n++
				}
			}
			sets[w.verdictMap(name, ipv6)] = n
		}
	}
	for set, want := range sets {
		elements, err := c.GetSetElements(set)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return false, fmt.Errorf("read set %s: %w", set.Name, err)
		}
		if len(elements) != want {
			return false, nil
		}
	}
	return true, nil
}

// commit is one transaction. Order matters: what is referred to comes before
// what refers to it, and goes after.
func (t *Table) commit(s, held *State, anew bool) error {
	c, err := connect()
	if err != nil {
		return err
	}
	w := writer{Conn: c, table: t.table}
	if anew {
		// Adding before deleting makes deleting safe when there is none.
		c.AddTable(t.table)
		c.DelTable(t.table)
		c.AddTable(t.table)
		if err := w.base(); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Sets)) {
		if err := w.set(name, s.Sets[name], held.Sets[name]); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Chains)) {
		if _, ok := held.Chains[name]; !ok {
			c.AddChain(&nftables.Chain{Name: name, Table: t.table})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Chains)) {
		if old, ok := held.Chains[name]; !ok || !slices.Equal(old, s.Chains[name]) {
			w.rules(name, s.Chains[name], ok)
		}
	}
	for name, m := range map[string][2]map[netip.Addr]string{"ingress": {s.Ingress, held.Ingress}, "egress": {s.Egress, held.Egress}} {
		if err := w.verdicts(name, m[0], m[1]); err != nil {
			return err
		}
	}
	for _, self := range []bool{false, true} {
		if err := w.selves(isolated(s, self), isolated(held, self), self); err != nil {
			return err
		}
	}
	var gone []string
	for name := range held.Chains {
		if _, ok := s.Chains[name]; !ok {
			gone = append(gone, name)
			c.FlushChain(&nftables.Chain{Name: name, Table: t.table})
		}
	}
	for _, name := range gone {
		c.DelChain(&nftables.Chain{Name: name, Table: t.table})
	}
	for name, set := range held.Sets {
		if _, ok := s.Sets[name]; !ok {
			c.DelSet(w.describe(name, set))
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("nftables transaction: %w", err)
	}
	return nil
}

// isolated are all pods' addresses of one IP version in both directions.
func isolated(s *State, ipv6 bool) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, m := range []map[netip.Addr]string{s.Ingress, s.Egress} {
		for ip := range m {
			if ip.Is6() == ipv6 {
				out[ip] = true
			}
		}
	}
	return out
}

// writer adds to a transaction.
type writer struct {
	*nftables.Conn
	table *nftables.Table
}

// The 4-byte registers are used in a row: a value takes as many as it needs.
const reg0 = unix.NFT_REG32_00

func addrType(ipv6 bool) (t nftables.SetDatatype, regs uint32) {
	if ipv6 {
		return nftables.TypeIP6Addr, 4
	}
	return nftables.TypeIPAddr, 1
}

// baseChain names the chain that a direction starts from, and baseRules is how
// many rules it has.
func baseChain(direction string) string { return "base-" + direction }

const baseRules = 6

// base makes the two chains that everything starts from, and their maps.
func (w *writer) base() error {
	for _, name := range []string{"ingress", "egress"} {
		for _, ipv6 := range []bool{false, true} {
			if err := w.AddSet(w.verdictMap(name, ipv6), nil); err != nil {
				return err
			}
		}
	}
	for _, ipv6 := range []bool{false, true} {
		if err := w.AddSet(w.selfSet(ipv6), nil); err != nil {
			return err
		}
	}
	for i, name := range []string{"egress", "ingress"} {
		// Just before the source is rewritten (100).
		chain := w.AddChain(&nftables.Chain{
			Name: baseChain(name), Table: w.table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityRef(nftables.ChainPriority(98 + i)),
		})
		accept := &expr.Verdict{Kind: expr.VerdictAccept}
		rule := func(exprs ...expr.Any) { w.AddRule(&nftables.Rule{Table: w.table, Chain: chain, Exprs: exprs}) }
		rule(
			&expr.Ct{Key: expr.CtKeySTATE, Register: reg0},
			&expr.Bitwise{SourceRegister: reg0, DestRegister: reg0, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: reg0, Data: make([]byte, 4)},
			accept)
		rule(
			&expr.Fib{Register: reg0, FlagSADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
			accept)
		for _, ipv6 := range []bool{false, true} {
			_, regs := addrType(ipv6)
			rule(append(version(ipv6), address(ipv6, true, reg0), address(ipv6, false, reg0+regs),
				&expr.Lookup{SourceRegister: reg0, SetName: w.selfSet(ipv6).Name}, accept)...)
			rule(append(version(ipv6), address(ipv6, name == "egress", reg0),
				&expr.Lookup{SourceRegister: reg0, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true, SetName: w.verdictMap(name, ipv6).Name})...)
		}
	}
	return nil
}

func (w *writer) verdictMap(name string, ipv6 bool) *nftables.Set {
	key, _ := addrType(ipv6)
	return &nftables.Set{Table: w.table, Name: family(name, ipv6), IsMap: true, KeyType: key, DataType: nftables.TypeVerdict}
}

func (w *writer) selfSet(ipv6 bool) *nftables.Set {
	key, _ := addrType(ipv6)
	return &nftables.Set{Table: w.table, Name: family("self", ipv6), Concatenation: true, KeyType: nftables.MustConcatSetType(key, key)}
}

func (w *writer) describe(name string, s Set) *nftables.Set {
	key, _ := addrType(s.IPv6)
	set := &nftables.Set{Table: w.table, Name: name, KeyType: key}
	switch s.Kind {
	case Ranges:
		set.Interval = true
	case AddressPorts:
		set.Concatenation, set.KeyType = true, nftables.MustConcatSetType(key, nftables.TypeInetService)
	}
	return set
}

func (w *writer) set(name string, s, held Set) error {
	set := w.describe(name, s)
	if held.Elements == nil {
		if err := w.AddSet(set, nil); err != nil {
			return err
		}
	}
	var add, remove []nftables.SetElement
	for e := range held.Elements {
		if !s.Elements[e] {
			remove = append(remove, s.Kind.encode(e)...)
		}
	}
	for e := range s.Elements {
		if !held.Elements[e] {
			add = append(add, s.Kind.encode(e)...)
		}
	}
	return w.change(set, add, remove)
}

// encode gives the kernel's elements: a range is its first address and the
// first that is not in it any more.
func (k Kind) encode(e Element) []nftables.SetElement {
	key := e.First.AsSlice()
	switch k {
	case Ranges:
		out := []nftables.SetElement{{Key: key}}
		if after := e.Last.Next(); after.IsValid() {
			out = append(out, nftables.SetElement{Key: after.AsSlice(), IntervalEnd: true})
		}
		return out
	case AddressPorts:
		key = append(append(key, binaryutil.BigEndian.PutUint16(e.Port)...), 0, 0)
	}
	return []nftables.SetElement{{Key: key}}
}

// maxElements go into one message, whose length is a number of 16 bits.
const maxElements = 512

func (w *writer) change(set *nftables.Set, add, remove []nftables.SetElement) error {
	for part := range slices.Chunk(remove, maxElements) {
		if err := w.SetDeleteElements(set, part); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(add, maxElements) {
		if err := w.SetAddElements(set, part); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) verdicts(name string, want, held map[netip.Addr]string) error {
	for _, ipv6 := range []bool{false, true} {
		var add, remove []nftables.SetElement
		element := func(ip netip.Addr, chain string) nftables.SetElement {
			return nftables.SetElement{Key: ip.AsSlice(), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
		}
		for ip, chain := range held {
			if ip.Is6() == ipv6 && want[ip] != chain {
				remove = append(remove, element(ip, chain))
			}
		}
		for ip, chain := range want {
			if ip.Is6() == ipv6 && held[ip] != chain {
				add = append(add, element(ip, chain))
			}
		}
		if err := w.change(w.verdictMap(name, ipv6), add, remove); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) selves(want, held map[netip.Addr]bool, ipv6 bool) error {
	var add, remove []nftables.SetElement
	element := func(ip netip.Addr) nftables.SetElement {
		return nftables.SetElement{Key: append(ip.AsSlice(), ip.AsSlice()...)}
	}
	for ip := range held {
		if !want[ip] {
			remove = append(remove, element(ip))
		}
	}
	for ip := range want {
		if !held[ip] {
			add = append(add, element(ip))
		}
	}
	return w.change(w.selfSet(ipv6), add, remove)
}

func (w *writer) rules(chain string, rules []Rule, flush bool) {
	c := &nftables.Chain{Name: chain, Table: w.table}
	if flush {
		w.FlushChain(c)
	}
	for i := range rules {
		w.AddRule(&nftables.Rule{Table: w.table, Chain: c, Exprs: rules[i].exprs()})
	}
}

func (r *Rule) exprs() []expr.Any {
	switch r.Verdict {
	case Drop:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	case Jump:
		return []expr.Any{&expr.Verdict{Kind: expr.VerdictJump, Chain: r.Jump}}
	}
	out := version(r.IPv6)
	if r.Protocol != 0 {
		out = append(out, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg0}, &expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{r.Protocol}})
	}
	if r.From != 0 {
		out = append(out, targetPort(reg0), &expr.Range{Op: expr.CmpOpEq, Register: reg0, FromData: binaryutil.BigEndian.PutUint16(r.From), ToData: binaryutil.BigEndian.PutUint16(r.To)})
	}
	if r.Ports != "" {
		_, regs := addrType(r.IPv6)
		out = append(out, address(r.IPv6, false, reg0), targetPort(reg0+regs), &expr.Lookup{SourceRegister: reg0, SetName: r.Ports})
	}
	if r.Peers != "" {
		out = append(out, address(r.IPv6, r.Direction == Ingress, reg0), &expr.Lookup{SourceRegister: reg0, SetName: r.Peers})
	}
	return append(out, &expr.Verdict{Kind: expr.VerdictAccept})
}

func version(ipv6 bool) []expr.Any {
	protocol := byte(unix.NFPROTO_IPV4)
	if ipv6 {
		protocol = unix.NFPROTO_IPV6
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: reg0},
		&expr.Cmp{Op: expr.CmpOpEq, Register: reg0, Data: []byte{protocol}},
	}
}

// address loads the source or target; offsets of RFC 791 and RFC 8200.
func address(ipv6, source bool, reg uint32) expr.Any {
	p := &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4}
	switch {
	case ipv6 && source:
		p.Offset, p.Len = 8, 16
	case ipv6:
		p.Offset, p.Len = 24, 16
	case source:
		p.Offset = 12
	}
	return p
}

func targetPort(reg uint32) expr.Any {
	return &expr.Payload{DestRegister: reg, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}
}
