package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rules is the network's nftables table: masquerade of what leaves the
// cluster, and host ports.
//
//	postrouting: source in a pod CIDR, target in no cluster CIDR, not out of the bridge → masquerade
//	prerouting, output: to a local address, host port → dnat to the pod
//	filter-prerouting: from a pod, to or from 127.0.0.0/8 → dropped: hostports_linux.go says why
//	filter-output: redirects to pods → dropped: they have one way only, and it is right
//	filter-forward: new TCP connections through the overlay → segments that fit
//
// Changes are rare (a pod with host ports comes or goes): the table is written
// as a whole, in one transaction.
type rules struct {
	table   string // named after the bridge
	iface   string
	overlay string // link to nodes in other networks

	mu      sync.Mutex
	cidrs   []netip.Prefix
	cluster []netip.Prefix
	ports   map[string][]portRule // by pod
	written map[string]int        // chains, and how many rules each has; nil when that is not known
}

func newRules(bridge string) *rules {
	return &rules{table: "skiff-pods-" + bridge, iface: bridge, overlay: overlayName(bridge), ports: map[string][]portRule{}}
}

func (r *rules) setCIDRs(cidrs, cluster []netip.Prefix) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(cluster) == 0 {
		cluster = cidrs
	}
	r.cidrs, r.cluster = cidrs, cluster
	return r.write()
}

func (r *rules) remove() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	c.DelTable(&nftables.Table{Name: r.table, Family: nftables.TableFamilyINet})
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove nftables table %s: %w", r.table, err)
	}
	return nil
}

// check writes the table again when somebody has removed it or rules of it.
func (r *rules) check() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.written == nil {
		return nil
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Name: r.table, Family: nftables.TableFamilyINet}
	for chain, want := range r.written {
		have, err := c.GetRules(table, &nftables.Chain{Name: chain, Table: table})
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("read nftables table %s: %w", r.table, err)
		}
		if len(have) != want {
			return r.write()
		}
	}
	return nil
}

// tableWriter adds to a transaction that writes a table anew.
type tableWriter struct {
	*nftables.Conn
	table *nftables.Table
	rules map[string]int // added, by chain
}

func (w *tableWriter) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
	w.rules[name] = 0
	return w.AddChain(&nftables.Chain{Name: name, Table: w.table, Type: kind, Hooknum: hook, Priority: priority})
}

func (w *tableWriter) rule(chain *nftables.Chain, exprs ...[]expr.Any) {
	w.rules[chain.Name]++
	w.AddRule(&nftables.Rule{Table: w.table, Chain: chain, Exprs: slices.Concat(exprs...)})
}

func (r *rules) write() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	w := &tableWriter{c, &nftables.Table{Name: r.table, Family: nftables.TableFamilyINet}, map[string]int{}}
	// Adding before deleting makes deleting safe when there is none.
	c.AddTable(w.table)
	c.DelTable(w.table)
	c.AddTable(w.table)
	post := w.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, cidr := range r.cidrs {
		exprs := address(cidr, true, expr.CmpOpEq)
		for _, cluster := range r.cluster {
			if cluster.Addr().Is4() == cidr.Addr().Is4() {
				exprs = append(exprs, address(cluster, false, expr.CmpOpNeq)[2:]...)
			}
		}
		w.rule(post, exprs, outInterface(r.iface, expr.CmpOpNeq), masquerade())
	}
	r.writeFilters(w)
	r.writeHostPorts(w, post)
	r.written = nil
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", r.table, err)
	}
	r.written = w.rules
	return nil
}

func (r *rules) writeFilters(w *tableWriter) {
	pre := w.chain("filter-prerouting", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityMangle)
	for _, source := range []bool{false, true} {
		w.rule(pre, inInterface(r.iface), address(loopback, source, expr.CmpOpEq), drop())
	}
	out := w.chain("filter-output", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	// Redirect messages of RFC 792 and RFC 4861.
	for protocol, kind := range map[byte]byte{unix.IPPROTO_ICMP: 5, unix.IPPROTO_ICMPV6: 137} {
		w.rule(out, outInterface(r.iface, expr.CmpOpEq), []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
		}, drop())
	}
	// Both ends tell the size they can take in the packet that opens a
	// connection: each is cut to what the way there carries.
	forward := w.chain("filter-forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityMangle)
	w.rule(forward, outInterface(r.overlay, expr.CmpOpEq), []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x02}, Xor: []byte{0}}, // SYN
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0}},
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt},
	})
}

// family matches the IP version.
func family(is4 bool) []expr.Any {
	proto := byte(unix.NFPROTO_IPV6)
	if is4 {
		proto = unix.NFPROTO_IPV4
	}
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
	}
}

// address matches the source or target address against a CIDR; the first two
// expressions match the family.
func address(c netip.Prefix, source bool, op expr.CmpOp) []expr.Any {
	// Offsets of RFC 791 and RFC 8200.
	offset, size := uint32(24), uint32(16)
	if source {
		offset = 8
	}
	if c.Addr().Is4() {
		offset, size = 16, 4
		if source {
			offset = 12
		}
	}
	exprs := append(family(c.Addr().Is4()), &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size})
	if c.Bits() < c.Addr().BitLen() {
		exprs = append(exprs, &expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: size,
			Mask: ipNet(c).Mask, Xor: make([]byte, size),
		})
	}
	return append(exprs, &expr.Cmp{Op: op, Register: 1, Data: c.Masked().Addr().AsSlice()})
}

func outInterface(name string, op expr.CmpOp) []expr.Any {
	return linkName(expr.MetaKeyOIFNAME, name, op)
}

func inInterface(name string) []expr.Any { return linkName(expr.MetaKeyIIFNAME, name, expr.CmpOpEq) }

func linkName(which expr.MetaKey, name string, op expr.CmpOp) []expr.Any {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return []expr.Any{
		&expr.Meta{Key: which, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: b},
	}
}

func drop() []expr.Any { return []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}} }

func masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }
