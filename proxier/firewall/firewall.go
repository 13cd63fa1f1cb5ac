package firewall

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nft"

	"golang.org/x/sys/unix"
)

// MasqueradeMark is the bit of a packet's mark that asks for masquerade:
// kube-proxy's default, bit 14, so that other programs keep off it.
const MasqueradeMark = 0x4000

// Priorities of our filter chains: just before destination NAT, where packets
// still carry the address that the client used.
const beforeDNAT = -110

// Firewall is the common part in one address family.
type Firewall struct {
	Family nft.Family
	cfg    backend.Config

	noEndpoints, noEndpointNodePorts *nft.Set
	restricted, sourceRanges         *nft.Set
	hairpin                          *nft.Set
	// Addresses are all service addresses that are nothing else.
	Addresses *nft.Set
}

// New returns the common part for a table.
func New(t nft.Table, cfg backend.Config) *Firewall {
	addr := t.Family.Addr()
	place := []nft.Type{addr, nft.Proto, nft.Service}
	set := func(name string, key ...nft.Type) *nft.Set { return &nft.Set{Table: t, Name: name, Key: key} }
	f := &Firewall{
		Family:              t.Family,
		cfg:                 cfg,
		noEndpoints:         set("no-endpoints", place...),
		noEndpointNodePorts: set("no-endpoint-nodeports", nft.Proto, nft.Service),
		restricted:          set("restricted", place...),
		sourceRanges:        set("source-ranges", append(place[:3:3], addr)...),
		hairpin:             set("hairpin", addr, addr),
		Addresses:           set("service-addresses", addr),
	}
	f.sourceRanges.Interval = true
	return f
}

const refused = "refused"

// Refuse answers "connection refused".
func Refuse() expr.Any { return nft.Goto(refused) }

// Sets returns the sets of the common part.
func (f *Firewall) Sets() []*nft.Set {
	return []*nft.Set{f.noEndpoints, f.noEndpointNodePorts, f.restricted, f.sourceRanges, f.hairpin, f.Addresses}
}

// Chains returns the chains of the common part, in order.
func (f *Firewall) Chains() []*nft.Chain {
	fam := f.Family
	afterAddr := nft.Reg0 + fam.AddrRegs()
	refuse := &nft.Chain{Name: "refuse", Rules: [][]expr.Any{
		nft.Rule(fam.Dest(nft.Reg0), nft.In(f.noEndpoints, nft.Reg0, false), Refuse()),
	}}
	for _, match := range f.NodePortAddress() {
		refuse.Rules = append(refuse.Rules,
			nft.Rule(match, nft.ProtoDport(nft.Reg0), nft.In(f.noEndpointNodePorts, nft.Reg0, false), Refuse()))
	}
	// What a server sends out of its connection's window is not translated: a
	// client that saw it would answer with a reset, which ends the connection.
	invalid := &nft.Chain{Name: "invalid-forward", Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_FORWARD}}
	for _, match := range f.FromPods() {
		invalid.Rules = append(invalid.Rules, nft.Rule(match, nft.CtInvalid(), nft.DropPacket()))
	}
	if len(invalid.Rules) == 0 {
		invalid.Rules = append(invalid.Rules, nft.Rule(nft.CtInvalid(), nft.DropPacket()))
	}
	return []*nft.Chain{
		{Name: refused, Rules: fam.Refuse()},
		invalid,
		refuse,
		{
			Name: "filter-prerouting",
			Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_PRE_ROUTING, Priority: beforeDNAT},
			Rules: [][]expr.Any{
				nft.Rule(nft.CtNew(), fam.Dest(nft.Reg0), nft.In(f.restricted, nft.Reg0, false),
					fam.Saddr(afterAddr+2), nft.In(f.sourceRanges, nft.Reg0, true), nft.DropPacket()),
				nft.Rule(nft.CtNew(), nft.Jump("refuse")),
			},
		},
		{
			Name:  "filter-output",
			Hook:  &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_OUT, Priority: beforeDNAT},
			Rules: [][]expr.Any{nft.Rule(nft.CtNew(), nft.Jump("refuse"))},
		},
		{
			Name: "nat-postrouting",
			Hook: &nft.Hook{Type: "nat", Num: unix.NF_INET_POST_ROUTING, Priority: 100},
			Rules: [][]expr.Any{
				nft.Rule(nft.HasMark(MasqueradeMark), nft.Masquerade()),
				nft.Rule(fam.Saddr(nft.Reg0), fam.Daddr(afterAddr), nft.In(f.hairpin, nft.Reg0, false), nft.Masquerade()),
			},
		},
	}
}

// NodePortAddress returns matches of which one holds for packets to an address
// that serves node ports.
func (f *Firewall) NodePortAddress() [][]expr.Any {
	fam := f.Family
	loopback := netip.MustParsePrefix("127.0.0.0/8")
	if fam == nft.IP6 {
		loopback = netip.MustParsePrefix("::1/128")
	}
	local := nft.Rule(nft.DstLocal(), fam.DstIn(loopback, true))
	if len(f.cfg.NodePortAddresses) == 0 {
		return [][]expr.Any{local}
	}
	var out [][]expr.Any
	for _, p := range f.cfg.NodePortAddresses {
		if fam.Has(p.Addr()) {
			out = append(out, nft.Rule(local, fam.DstIn(p, false)))
		}
	}
	return out
}

// FromPods returns one match for each pod network of the family.
func (f *Firewall) FromPods() [][]expr.Any {
	var out [][]expr.Any
	for _, p := range f.cfg.ClusterCIDRs {
		if f.Family.Has(p.Addr()) {
			out = append(out, f.Family.SrcIn(p, false))
		}
	}
	return out
}

// FromElsewhere returns a match for sources that are no pod, or nil when the pods' networks are
// not known.
func (f *Firewall) FromElsewhere() []expr.Any {
	var out []expr.Any
	for _, p := range f.cfg.ClusterCIDRs {
		if f.Family.Has(p.Addr()) {
			out = append(out, f.Family.SrcIn(p, true)...)
		}
	}
	return out
}

// Entries returns what the port of a service needs in the common sets.
func (f *Firewall) Entries(p *model.Port) []nft.Entry {
	var out []nft.Entry
	add := func(set *nft.Set, key []byte) { out = append(out, nft.Entry{Set: set, Element: nft.Element{Key: key}}) }
	for i := range p.Frontends {
		fe := &p.Frontends[i]
		if fe.Kind == model.NodePort {
			if p.Refused(fe) {
				add(f.noEndpointNodePorts, PortKey(p.Protocol, fe.Port))
			}
			continue
		}
		place := PlaceKey(fe.Addr, p.Protocol, fe.Port)
		if !fe.OwnAddr {
			add(f.Addresses, fe.Addr.AsSlice())
		}
		if p.Refused(fe) {
			add(f.noEndpoints, place)
		}
		if len(fe.SourceRanges) > 0 {
			add(f.restricted, place)
			for _, r := range fe.SourceRanges {
				out = append(out, nft.Entry{Set: f.sourceRanges, Element: nft.Element{
					Key: append(place[:len(place):len(place)], r.Addr().AsSlice()...),
					End: append(place[:len(place):len(place)], lastAddr(r).AsSlice()...),
				}})
			}
		}
	}
	for _, pool := range [][]model.Endpoint{p.Cluster, p.Local} {
		for _, e := range pool {
			if e.OnNode {
				a := e.Addr().AsSlice()
				add(f.hairpin, append(a[:len(a):len(a)], a...))
			}
		}
	}
	return out
}

// Protocol returns the number of a protocol.
func Protocol(p corev1.Protocol) byte {
	switch p {
	case corev1.ProtocolUDP:
		return unix.IPPROTO_UDP
	case corev1.ProtocolSCTP:
		return unix.IPPROTO_SCTP
	}
	return unix.IPPROTO_TCP
}

// PortKey encodes protocol and port as registers hold them.
func PortKey(p corev1.Protocol, port uint16) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{Protocol(p), 0, 0, 0}, port), 0, 0)
}

// PlaceKey encodes address, protocol and port as registers hold them.
func PlaceKey(a netip.Addr, p corev1.Protocol, port uint16) []byte {
	return append(a.AsSlice(), PortKey(p, port)...)
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}
