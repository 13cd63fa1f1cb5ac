package ipvs

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/firewall"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nft"
	"github.com/skiffcluster/skiff/proxier/nftables"
)

// TableName is the name of our tables.
const TableName = "skiff-ipvs"

// table is what nftables does around IPVS in one family. IPVS takes packets
// after INPUT and, from the node itself, early in OUTPUT: we mark while they
// still carry the service's address and masquerade after. A virtual server has
// one set of servers for all clients: with policy Local those of outside, and
// inside gets the node and its pods past it. What goes to IPVS is destined to
// where it goes already: else whoever redirects a port of all of the node's
// addresses, as a host port does, would have it.
type table struct {
	nft.Family
	ref nft.Table
	fw  *firewall.Firewall

	served        *nft.Set // places that have a virtual server
	nodePorts     *nft.Set // the same for node ports; also tells a later process which were ours
	masqElsewhere *nft.Set // places whose clients are masqueraded unless they are pods
	masqAlways    *nft.Set
	masqNodePorts *nft.Set
	silent        *nft.Set // cluster IPs of policy Local without an endpoint here
	// The same of the other places, for clients from outside: inside serves the
	// node and its pods there.
	silentOutside, silentNodePort *nft.Set
	inside                        *nftables.Inside
}

func newTable(family nft.Family, cfg backend.Config) *table {
	t := &table{Family: family, ref: nft.Table{Family: family, Name: TableName}}
	t.fw = firewall.New(t.ref, cfg)
	byPlace := func(name string) *nft.Set {
		return &nft.Set{Table: t.ref, Name: name, Key: []nft.Type{family.Addr(), nft.Proto, nft.Service}}
	}
	byPort := func(name string) *nft.Set {
		return &nft.Set{Table: t.ref, Name: name, Key: []nft.Type{nft.Proto, nft.Service}}
	}
	t.served, t.nodePorts = byPlace("served"), byPort("nodeports")
	t.masqElsewhere, t.masqAlways, t.masqNodePorts = byPlace("masquerade-elsewhere"), byPlace("masquerade"), byPort("masquerade-nodeports")
	t.silent, t.silentOutside, t.silentNodePort = byPlace("silent"), byPlace("silent-outside"), byPort("silent-nodeports")
	t.inside = nftables.NewInside(t.ref, t.fw)
	return t
}

func (t *table) layout() nft.Layout {
	return nft.Layout{
		Table: t.ref,
		Sets: append(append(t.fw.Sets(), t.served, t.nodePorts, t.masqElsewhere, t.masqAlways, t.masqNodePorts,
			t.silent, t.silentOutside, t.silentNodePort), t.inside.Sets()...),
		Chains: append(append(t.fw.Chains(), t.chains()...), t.inside.Chains()...),
	}
}

func (t *table) chains() []*nft.Chain {
	place, port := t.Dest(nft.Reg0), nft.ProtoDport(nft.Reg0)
	mark := nft.OrMark(firewall.MasqueradeMark)
	services := &nft.Chain{Name: "services", Rules: [][]expr.Any{
		nft.Rule(place, nft.In(t.silent, nft.Reg0, false), nft.DropPacket()),
		nft.Rule(place, nft.In(t.masqAlways, nft.Reg0, false), mark),
	}}
	if elsewhere := t.fw.FromElsewhere(); elsewhere != nil {
		services.Rules = append(services.Rules, nft.Rule(elsewhere, place, nft.In(t.masqElsewhere, nft.Reg0, false), mark))
	}
	// No packet that comes in is the node's own.
	outside := [][]expr.Any{nft.Rule(nft.CtNew(), t.fw.FromElsewhere(), place, nft.In(t.silentOutside, nft.Reg0, false), nft.DropPacket())}
	for _, match := range t.fw.NodePortAddress() {
		services.Rules = append(services.Rules, nft.Rule(match, port, nft.In(t.masqNodePorts, nft.Reg0, false), mark))
		outside = append(outside, nft.Rule(nft.CtNew(), t.fw.FromElsewhere(), match, port, nft.In(t.silentNodePort, nft.Reg0, false), nft.DropPacket()))
	}
	const beforeIPVS = -105 // OUTPUT: -99
	// After inside, before others.
	keep := func(name string, hook uint32) *nft.Chain {
		return &nft.Chain{
			Name: name, Hook: &nft.Hook{Type: "nat", Num: hook, Priority: -95},
			Rules: [][]expr.Any{nft.Rule(place, nft.In(t.served, nft.Reg0, false),
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.Family), RegAddrMin: nft.Reg0})},
		}
	}
	return []*nft.Chain{
		services,
		keep("keep-prerouting", unix.NF_INET_PRE_ROUTING),
		keep("keep-output", unix.NF_INET_LOCAL_OUT),
		{
			Name:  "services-prerouting",
			Hook:  &nft.Hook{Type: "filter", Num: unix.NF_INET_PRE_ROUTING, Priority: beforeIPVS},
			Rules: append(outside, nft.Rule(nft.CtNew(), nft.Jump(services.Name))),
		},
		{
			Name: "services-output",
			Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_OUT, Priority: beforeIPVS},
			Rules: [][]expr.Any{
				nft.Rule(nft.CtNew(), nft.Jump(services.Name)),
				// The node's own packets have the service's address as their source too.
				nft.Rule(nft.CtNew(), place, nft.In(t.served, nft.Reg0, false), mark),
			},
		},
		{
			Name: "unused-input",
			Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_IN},
			// A service's address is the node's own here: without this the node's
			// own ports would answer on it.
			Rules: [][]expr.Any{nft.Rule(nft.CtNew(), place, nft.In(t.fw.Addresses, nft.Reg0, false),
				nft.In(t.served, nft.Reg0, true), firewall.Refuse())},
		},
	}
}

// entries returns the elements that a port of a service needs.
func (t *table) entries(p *model.Port) []nft.Entry {
	out := t.fw.Entries(p)
	for i := range p.Frontends {
		f := &p.Frontends[i]
		add := func(set *nft.Set, key []byte) {
			out = append(out, nft.Entry{Set: set, Element: nft.Element{Key: key}})
		}
		silent := len(p.Outside(f)) == 0 && !p.Refused(f)
		if f.Kind == model.NodePort {
			key := firewall.PortKey(p.Protocol, f.Port)
			add(t.nodePorts, key)
			switch {
			case silent:
				add(t.silentNodePort, key)
			case !f.Local:
				add(t.masqNodePorts, key)
			}
			continue
		}
		if f.OwnAddr {
			add(t.nodePorts, firewall.PortKey(p.Protocol, f.Port)) // not on our link: so that it is known as ours
		}
		key := firewall.PlaceKey(f.Addr, p.Protocol, f.Port)
		add(t.served, key)
		switch {
		case silent && f.Kind == model.ClusterIP:
			add(t.silent, key)
		case silent:
			add(t.silentOutside, key)
		case f.Kind == model.ClusterIP:
			add(t.masqElsewhere, key)
		case !f.Local:
			add(t.masqAlways, key)
		}
	}
	return out
}
