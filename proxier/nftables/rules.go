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

// class is the first field of a pool's key: which of a frontend's pools is
// meant, and whether the destination address counts.
type class uint32

const (
	byAddr       class = 0 // any client, by address
	insideByAddr class = 1 // the node and its pods, where they differ from others
	byNodePort   class = 2
	insideByPort class = 3
)

func (c class) nodePort() bool { return c >= byNodePort }

// masquerade says which clients of a chain lose their address.
type masquerade byte

const (
	never     masquerade = 'n'
	elsewhere masquerade = 'e' // those that are no pods
	always    masquerade = 'a'
)

// pick is the kind of a chain that picks an endpoint.
type pick struct {
	class    class
	masq     masquerade
	count    int
	affinity time.Duration
}

func (p pick) name() string {
	n := fmt.Sprintf("pick-%d%c-%d", p.class, p.masq, p.count)
	if p.affinity > 0 {
		n += fmt.Sprintf("-%ds", int(p.affinity.Seconds()))
	}
	return n
}

// table is our table in one family.
type table struct {
	nft.Family
	ref nft.Table
	fw  *firewall.Firewall

	services, insideServices   *nft.Set // address · protocol · port → chain
	nodePorts, insideNodePorts *nft.Set // protocol · port → chain
	pools                      *nft.Set // class · address · protocol · port → pool
	endpoints                  *nft.Set // pool · index → address · port
	members                    *nft.Set // pool · address · port, of pools with affinity
	clients                    *nft.Set // pool · source → address · port, filled by the kernel
}

func newTable(family nft.Family, cfg backend.Config) *table {
	t := &table{Family: family, ref: nft.Table{Family: family, Name: TableName}}
	t.fw = firewall.New(t.ref, cfg)
	addr := family.Addr()
	place, port := []nft.Type{addr, nft.Proto, nft.Service}, []nft.Type{nft.Proto, nft.Service}
	t.services = &nft.Set{Table: t.ref, Name: "services", Key: place, Verdict: true}
	t.insideServices = &nft.Set{Table: t.ref, Name: "inside-services", Key: place, Verdict: true}
	t.nodePorts = &nft.Set{Table: t.ref, Name: "nodeports", Key: port, Verdict: true}
	t.insideNodePorts = &nft.Set{Table: t.ref, Name: "inside-nodeports", Key: port, Verdict: true}
	t.pools = &nft.Set{Table: t.ref, Name: "pools", Key: append([]nft.Type{nft.Mark}, place...), Data: []nft.Type{nft.Mark}}
	server := []nft.Type{addr, nft.Service}
	t.endpoints = &nft.Set{Table: t.ref, Name: "endpoints", Key: []nft.Type{nft.Mark, nft.Mark}, Data: server}
	t.members = &nft.Set{Table: t.ref, Name: "members", Key: []nft.Type{nft.Mark, addr, nft.Service}}
	t.clients = &nft.Set{Table: t.ref, Name: "clients", Key: []nft.Type{nft.Mark, addr}, Data: server, Dynamic: true}
	return t
}

func (t *table) layout() nft.Layout {
	return nft.Layout{
		Table: t.ref,
		Sets: append(t.fw.Sets(), t.services, t.insideServices, t.nodePorts, t.insideNodePorts,
			t.pools, t.endpoints, t.members, t.clients),
		Chains: append(t.fw.Chains(), t.baseChains()...),
	}
}

func (t *table) baseChains() []*nft.Chain {
	place, port := t.Dest(nft.Reg0), nft.ProtoDport(nft.Reg0)
	inside := append(t.fw.FromPods(), nft.SrcLocal())
	nodePorts, services := &nft.Chain{Name: "nodeports"}, &nft.Chain{Name: "services"}
	for _, from := range inside {
		nodePorts.Rules = append(nodePorts.Rules, nft.Rule(from, port, nft.Vmap(t.insideNodePorts, nft.Reg0)))
		services.Rules = append(services.Rules, nft.Rule(from, place, nft.Vmap(t.insideServices, nft.Reg0)))
	}
	nodePorts.Rules = append(nodePorts.Rules, nft.Rule(port, nft.Vmap(t.nodePorts, nft.Reg0)))
	services.Rules = append(services.Rules, nft.Rule(place, nft.Vmap(t.services, nft.Reg0)))
	for _, match := range t.fw.NodePortAddress() {
		services.Rules = append(services.Rules, nft.Rule(match, nft.Jump(nodePorts.Name)))
	}
	// What still has a service's address after destination NAT goes to a port
	// that the service does not have.
	unused := [][]expr.Any{nft.Rule(nft.CtNew(), t.Daddr(nft.Reg0), nft.In(t.fw.Addresses, nft.Reg0, false), firewall.Refuse())}
	return []*nft.Chain{
		nodePorts,
		services,
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
		{Name: "unused-output", Hook: &nft.Hook{Type: "filter", Num: unix.NF_INET_LOCAL_OUT}, Rules: unused},
	}
}

// dynsetDelete is NFT_DYNSET_OP_DELETE, since Linux 5.4.
const dynsetDelete = 2

// Registers of a pick chain. A pool's key is at most seven registers long, a
// server five.
const (
	key    = nft.Reg0
	server = nft.Reg0 + 8
)

func (t *table) pickChain(p pick) *nft.Chain {
	c := &nft.Chain{Name: p.name()}
	switch {
	case p.masq == always:
		c.Rules = append(c.Rules, nft.OrMark(firewall.MasqueradeMark))
	case p.masq == elsewhere && t.fw.FromElsewhere() != nil:
		c.Rules = append(c.Rules, nft.Rule(t.fw.FromElsewhere(), nft.OrMark(firewall.MasqueradeMark)))
	}
	serverPort := server + t.AddrRegs()
	dnat := &expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(t.Family), RegAddrMin: server, RegProtoMin: serverPort}
	var remember []expr.Any
	if p.affinity > 0 {
		client := nft.Rule(t.loadPool(p.class, key), t.Saddr(key+1))
		remember = nft.Rule(client, &expr.Dynset{
			SetName: t.clients.Name, SrcRegKey: key, SrcRegData: server,
			Operation: unix.NFT_DYNSET_OP_UPDATE, Timeout: p.affinity,
		})
		c.Rules = append(c.Rules,
			// A known client whose endpoint is still a member stays with it.
			nft.Rule(client, nft.Get(t.clients, key, server), t.loadPool(p.class, server-1),
				nft.In(t.members, server-1, false), remember, dnat),
			// Updating an element does not change its data: remove what is stale.
			// (The kernel wants a data register for a map even then.)
			nft.Rule(client,
				&expr.Immediate{Register: server, Data: make([]byte, t.AddrLen())},
				&expr.Immediate{Register: serverPort, Data: make([]byte, 4)},
				&expr.Dynset{SetName: t.clients.Name, SrcRegKey: key, SrcRegData: server, Operation: dynsetDelete}),
		)
	}
	c.Rules = append(c.Rules,
		nft.Rule(
			t.loadPool(p.class, key),
			&expr.Numgen{Register: key + 1, Modulus: uint32(p.count), Type: unix.NFT_NG_RANDOM},
			nft.Get(t.endpoints, key, server), remember, dnat,
		),
		// A packet that meets a change half-way finds nothing: the client sends
		// it again, instead of a connection that is never translated.
		nft.Rule(nft.DropPacket()),
	)
	return c
}

// loadPool loads the packet's pool to dest, by way of the key's registers.
func (t *table) loadPool(c class, dest uint32) []expr.Any {
	load := []expr.Any{&expr.Immediate{Register: key, Data: nft.Uint32(uint32(c))}}
	if c.nodePort() {
		load = append(load, &expr.Immediate{Register: key + 1, Data: make([]byte, t.AddrLen())})
	} else {
		load = append(load, t.Daddr(key+1))
	}
	load = append(load, nft.ProtoDport(key+1+t.AddrRegs())...)
	return append(load, nft.Get(t.pools, key, dest))
}
