package nftables

import (
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/firewall"
	"github.com/skiffcluster/skiff/proxier/nft"
)

// TableName is the name of our tables.
const TableName = "skiff-proxy"

// group is one way to find a pool: by whom, and whether the destination's
// address counts. Its maps have the same first fields in their keys, which all
// come from the packet: a key that held what another map had found could not
// be listed by older nft programs.
type group struct {
	name   string
	byPort bool // protocol · port; else address · protocol · port

	verdicts  *nft.Set // place → chain
	endpoints *nft.Set // place · index → address · port
	sticky    *nft.Set // place → chain that remembers a client, where there is affinity
}

func newGroup(t nft.Table, name string, byPort bool) *group {
	addr := t.Family.Addr()
	place := []nft.Type{addr, nft.Proto, nft.Service}
	if byPort {
		place = place[1:]
	}
	return &group{
		name: name, byPort: byPort,
		verdicts:  &nft.Set{Table: t, Name: name, Key: place, Verdict: true},
		endpoints: &nft.Set{Table: t, Name: name + "-endpoints", Key: append(place[:len(place):len(place)], nft.Mark), Data: []nft.Type{addr, nft.Service}},
		sticky:    &nft.Set{Table: t, Name: name + "-sticky", Key: place, Verdict: true},
	}
}

// masquerade says which clients of a chain lose their address.
type masquerade byte

const (
	never     masquerade = 'n'
	elsewhere masquerade = 'e' // those that are no pods
	always    masquerade = 'a'
)

// pick is the kind of a chain that picks one of so many endpoints.
type pick struct {
	group  *group
	masq   masquerade
	count  int
	sticky bool
}

func (p pick) name() string {
	n := fmt.Sprintf("%s-%c-%d", p.group.name, p.masq, p.count)
	if p.sticky {
		n += "-sticky"
	}
	return n
}

// table is our table in one family.
type table struct {
	nft.Family
	ref nft.Table
	fw  *firewall.Firewall

	services, nodePorts *group // for all clients
	// The same for the node and its pods, where they differ from others.
	insideServices, insideNodePorts *group
	// clients are those of places with affinity: address · protocol · port ·
	// source → address · port, filled by the kernel.
	clients *nft.Set
}

func newTable(family nft.Family, cfg backend.Config) *table {
	ref := nft.Table{Family: family, Name: TableName}
	return &table{
		Family: family, ref: ref, fw: firewall.New(ref, cfg),
		services:        newGroup(ref, "services", false),
		nodePorts:       newGroup(ref, "nodeports", true),
		insideServices:  newGroup(ref, "inside-services", false),
		insideNodePorts: newGroup(ref, "inside-nodeports", true),
		clients:         newClients(ref),
	}
}

func newClients(t nft.Table) *nft.Set {
	addr := t.Family.Addr()
	return &nft.Set{
		Table: t, Name: "clients", Dynamic: true,
		Key: []nft.Type{addr, nft.Proto, nft.Service, addr}, Data: []nft.Type{addr, nft.Service},
	}
}

func (t *table) groups() []*group {
	return []*group{t.services, t.nodePorts, t.insideServices, t.insideNodePorts}
}

func (t *table) layout() nft.Layout {
	sets := append(t.fw.Sets(), t.clients)
	for _, g := range t.groups() {
		sets = append(sets, g.verdicts, g.endpoints, g.sticky)
	}
	return nft.Layout{Table: t.ref, Sets: sets, Chains: append(t.fw.Chains(), t.baseChains()...)}
}

func (t *table) baseChains() []*nft.Chain {
	follow := func(g *group) []expr.Any { return nft.Rule(t.place(g, nft.Reg0), nft.Vmap(g.verdicts, nft.Reg0)) }
	nodePorts, services := &nft.Chain{Name: "find-nodeports"}, &nft.Chain{Name: "find-services"}
	for _, from := range append(t.fw.FromPods(), nft.SrcLocal()) {
		nodePorts.Rules = append(nodePorts.Rules, nft.Rule(from, follow(t.insideNodePorts)))
		services.Rules = append(services.Rules, nft.Rule(from, follow(t.insideServices)))
	}
	nodePorts.Rules = append(nodePorts.Rules, follow(t.nodePorts))
	services.Rules = append(services.Rules, follow(t.services))
	for _, match := range t.fw.NodePortAddress() {
		services.Rules = append(services.Rules, nft.Rule(match, nft.Jump(nodePorts.Name)))
	}
	// What still has a service's address after destination NAT goes to a port
	// that the service does not have.
	unused := [][]expr.Any{nft.Rule(nft.CtNew(), t.Daddr(nft.Reg0), nft.In(t.fw.Addresses, nft.Reg0, false), firewall.Refuse())}
	return append(append([]*nft.Chain{nodePorts, services}, t.rememberers(t.services, t.nodePorts)...), []*nft.Chain{
		{
			Name:  "nat-prerouting",
			Hook:  &nft.Hook{Type: "nat", Num: unix.NF_INET_PRE_ROUTING, Priority: -100},
			Rules: [][]expr.Any{nft.Rule(nft.Jump(services.Name))},
		},
		{
			Name:  "nat-output",
			Hook:  &nft.Hook{Type: "nat", Num: unix.NF_INET_LOCAL_OUT, Priority: -100},
			Rules: [][]expr.Any{nft.Rule(nft.Jump(services.Name))},
		},
		{Name: "unused-forward", Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_FORWARD}, Rules: unused},
		{Name: "unused-input", Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_IN}, Rules: unused},
		{Name: "unused-output", Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_OUT}, Rules: unused},
	}...)
}

// rememberers lead to the chains that remember a client, after destination NAT.
func (t *table) rememberers(services, nodePorts *group) []*nft.Chain {
	const afterDNAT = -90
	remember := [][]expr.Any{
		nft.Rule(nft.CtNew(), nft.CtDNAT(), t.OrigDest(nft.Reg0), nft.Vmap(services.sticky, nft.Reg0)),
		nft.Rule(nft.CtNew(), nft.CtDNAT(), t.OrigDest(nft.Reg0), nft.Vmap(nodePorts.sticky, nft.Reg0+t.AddrRegs())),
	}
	return []*nft.Chain{
		{Name: "remember-prerouting", Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_PRE_ROUTING, Priority: afterDNAT}, Rules: remember},
		{Name: "remember-output", Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_OUT, Priority: afterDNAT}, Rules: remember},
	}
}

// place loads the packet's place as the group's keys begin with it.
func (t *table) place(g *group, reg uint32) []expr.Any {
	if g.byPort {
		return nft.ProtoDport(reg)
	}
	return t.Dest(reg)
}

// placeRegs is how many registers that takes.
func (t *table) placeRegs(g *group) uint32 {
	if g.byPort {
		return 2
	}
	return t.AddrRegs() + 2
}

// Registers of a pick chain: a key is at most ten long (place and source in
// IPv6), a server five.
const (
	key    = nft.Reg0
	server = nft.Reg0 + 10
)

func (t *table) pickChain(p pick) *nft.Chain {
	c := &nft.Chain{Name: p.name()}
	switch {
	case p.masq == always:
		c.Rules = append(c.Rules, nft.OrMark(firewall.MasqueradeMark))
	case p.masq == elsewhere && t.fw.FromElsewhere() != nil:
		c.Rules = append(c.Rules, nft.Rule(t.fw.FromElsewhere(), nft.OrMark(firewall.MasqueradeMark)))
	}
	dnat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.Family), RegAddrMin: server, RegProtoMin: server + t.AddrRegs()}
	if p.sticky {
		// A known client stays with its server. Those of servers that go are
		// removed by sticky.go.
		c.Rules = append(c.Rules, nft.Rule(t.Dest(key), t.Saddr(key+t.AddrRegs()+2), nft.Get(t.clients, key, server), dnat))
	}
	c.Rules = append(c.Rules,
		nft.Rule(
			t.place(p.group, key),
			&expr.Numgen{Register: key + t.placeRegs(p.group), Modulus: uint32(p.count), Type: unix.NFT_NG_RANDOM},
			nft.Get(p.group.endpoints, key, server), dnat,
		),
		// A packet that meets a change half-way finds nothing: the client sends
		// it again, instead of a connection that is never translated.
		nft.Rule(nft.DropPacket()),
	)
	return c
}

// rememberChain remembers for so long which server the packet's client got. It
// comes after destination NAT, where the packet says so itself.
func (t *table) rememberChain(affinity time.Duration) *nft.Chain {
	return &nft.Chain{Name: rememberName(affinity), Rules: [][]expr.Any{nft.Rule(
		t.OrigDest(key), t.Saddr(key+t.AddrRegs()+2), t.Daddr(server), nft.Dport(server+t.AddrRegs()),
		&expr.Dynset{
			SetName: t.clients.Name, SrcRegKey: key, SrcRegData: server,
			Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: affinity,
		},
	)}}
}

func rememberName(affinity time.Duration) string {
	return fmt.Sprintf("remember-%ds", int(affinity.Seconds()))
}
