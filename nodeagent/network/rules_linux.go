package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// rules is the network's nftables table: masquerade of what leaves the
// cluster, and host ports.
//
//	postrouting: source in a pod CIDR, target in no cluster CIDR, not out of the bridge → masquerade
//	prerouting, output: to a local address, host port → dnat to the pod
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
}

type portRule struct {
	HostPort
	to netip.Addr
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

// rememberHostPorts takes those of a pod that an earlier agent has connected;
// the next write has them.
func (r *rules) rememberHostPorts(podID string, ips []netip.Addr, ports []HostPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ports[podID] = planHostPorts(ips, ports)
}

func (r *rules) setHostPorts(podID string, ips []netip.Addr, ports []HostPort) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	wanted := planHostPorts(ips, ports)
	if slices.Equal(wanted, r.ports[podID]) {
		return nil
	}
	r.ports[podID] = wanted
	if len(wanted) == 0 {
		delete(r.ports, podID)
	}
	return r.write()
}

// planHostPorts leads each port to the pod's addresses of the same IP version.
func planHostPorts(ips []netip.Addr, ports []HostPort) []portRule {
	var wanted []portRule
	for _, p := range ports {
		for _, ip := range ips {
			if !p.HostIP.IsValid() || p.HostIP.Is4() == ip.Is4() {
				wanted = append(wanted, portRule{HostPort: p, to: ip})
			}
		}
	}
	return wanted
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

func (r *rules) write() error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Name: r.table, Family: nftables.TableFamilyINet}
	// Adding before deleting makes deleting safe when there is none.
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	nat := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeNAT, Hooknum: hook, Priority: priority})
	}
	post := nat("postrouting", nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	for _, cidr := range r.cidrs {
		exprs := address(cidr, true, expr.CmpOpEq)
		for _, cluster := range r.cluster {
			if cluster.Addr().Is4() == cidr.Addr().Is4() {
				exprs = append(exprs, address(cluster, false, expr.CmpOpNeq)[2:]...)
			}
		}
		exprs = append(exprs, outInterface(r.iface, expr.CmpOpNeq)...)
		c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: append(exprs, &expr.Masq{})})
	}
	r.writeFilters(c, table)
	if len(r.ports) > 0 {
		pre := nat("prerouting", nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest)
		out := nat("output", nftables.ChainHookOutput, nftables.ChainPriorityNATDest)
		for _, ports := range r.ports {
			for _, p := range ports {
				for _, chain := range []*nftables.Chain{pre, out} {
					c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: p.exprs()})
				}
				// A pod that comes back to itself needs another source.
				own := append(address(netip.PrefixFrom(p.to, p.to.BitLen()), true, expr.CmpOpEq),
					address(netip.PrefixFrom(p.to, p.to.BitLen()), false, expr.CmpOpEq)[2:]...)
				c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: append(own, &expr.Masq{})})
			}
		}
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("write nftables table %s: %w", r.table, err)
	}
	return nil
}

func (r *rules) writeFilters(c *nftables.Conn, table *nftables.Table) {
	filter := func(name string, hook *nftables.ChainHook, priority *nftables.ChainPriority) *nftables.Chain {
		return c.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook, Priority: priority})
	}
	out := filter("filter-output", nftables.ChainHookOutput, nftables.ChainPriorityFilter)
	// Redirect messages of RFC 792 and RFC 4861.
	for protocol, kind := range map[byte]byte{unix.IPPROTO_ICMP: 5, unix.IPPROTO_ICMPV6: 137} {
		c.AddRule(&nftables.Rule{Table: table, Chain: out, Exprs: append(outInterface(r.iface, expr.CmpOpEq),
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
			&expr.Verdict{Kind: expr.VerdictDrop})})
	}
	// Both ends tell the size they can take in the packet that opens a
	// connection: each is cut to what the way there carries.
	forward := filter("filter-forward", nftables.ChainHookForward, nftables.ChainPriorityMangle)
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: append(outInterface(r.overlay, expr.CmpOpEq),
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 1, Mask: []byte{0x02}, Xor: []byte{0}}, // SYN
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{0}},
		&expr.Rt{Register: 1, Key: expr.RtTCPMSS},
		&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 2, Size: 2},
		&expr.Exthdr{SourceRegister: 1, Type: 2, Offset: 2, Len: 2, Op: expr.ExthdrOpTcpopt})})
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
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, name)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyOIFNAME, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: b},
	}
}

// exprs: to an address of this node, protocol and port → the pod.
func (p portRule) exprs() []expr.Any {
	var exprs []expr.Any
	if p.HostIP.IsValid() && !p.HostIP.IsUnspecified() {
		exprs = address(netip.PrefixFrom(p.HostIP, p.HostIP.BitLen()), false, expr.CmpOpEq)
	} else {
		exprs = append(family(p.to.Is4()),
			&expr.Fib{Register: 1, FlagDADDR: true, ResultADDRTYPE: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)})
	}
	protocol := map[string]byte{"": unix.IPPROTO_TCP, "TCP": unix.IPPROTO_TCP, "UDP": unix.IPPROTO_UDP, "SCTP": unix.IPPROTO_SCTP}[p.Protocol]
	nfproto := uint32(unix.NFPROTO_IPV6)
	if p.to.Is4() {
		nfproto = unix.NFPROTO_IPV4
	}
	return append(exprs,
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(p.HostPort.HostPort)},
		&expr.Immediate{Register: 1, Data: p.to.AsSlice()},
		&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(p.ContainerPort)},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: nfproto, RegAddrMin: 1, RegProtoMin: 2},
	)
}
