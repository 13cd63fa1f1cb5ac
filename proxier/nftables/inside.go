package nftables

import (
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/proxier/firewall"
	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/nft"
)

// Inside serves the node and its pods at places whose traffic policy is Local:
// all endpoints are theirs, while others have the local ones. It is a part of a
// table of a backend that serves those others by other means.
type Inside struct {
	t      *table
	chains *chains
	sticky sticky
}

// NewInside returns the part of a table in one address family.
func NewInside(ref nft.Table, fw *firewall.Firewall) *Inside {
	return &Inside{
		t: &table{
			Family: ref.Family, ref: ref, fw: fw,
			insideServices:  newGroup(ref, "inside-services", false),
			insideNodePorts: newGroup(ref, "inside-nodeports", true),
			clients:         newClients(ref),
		},
		chains: newChains(), sticky: newSticky(),
	}
}

// Sets returns the part's sets.
func (i *Inside) Sets() []*nft.Set {
	sets := []*nft.Set{i.t.clients}
	for _, g := range []*group{i.t.insideServices, i.t.insideNodePorts} {
		sets = append(sets, g.verdicts, g.endpoints, g.sticky)
	}
	return sets
}

// Chains returns the part's chains that are always there.
func (i *Inside) Chains() []*nft.Chain {
	t := i.t
	find := &nft.Chain{Name: "find-inside"}
	for _, from := range append(t.fw.FromPods(), nft.SrcLocal()) {
		find.Rules = append(find.Rules, nft.Rule(from, t.Dest(nft.Reg0), nft.Vmap(t.insideServices.verdicts, nft.Reg0)))
		for _, match := range t.fw.NodePortAddress() {
			find.Rules = append(find.Rules, nft.Rule(from, match, nft.ProtoDport(nft.Reg0), nft.Vmap(t.insideNodePorts.verdicts, nft.Reg0)))
		}
	}
	nat := func(name string, hook uint32) *nft.Chain {
		return &nft.Chain{Name: name, Hook: &nft.Hook{Type: "nat", Num: hook, Priority: -100}, Rules: [][]expr.Any{nft.Rule(nft.Jump(find.Name))}}
	}
	return append([]*nft.Chain{find, nat("inside-prerouting", unix.NF_INET_PRE_ROUTING), nat("inside-output", unix.NF_INET_LOCAL_OUT)},
		t.rememberers(t.insideServices, t.insideNodePorts)...)
}

// Picked returns the chains that entries of now and of before go to.
func (i *Inside) Picked() []*nft.Chain { return i.chains.list[i.t.ref] }

// Remove appends the entries that a port had.
func (i *Inside) Remove(out []nft.Entry, p *model.Port) []nft.Entry {
	for _, w := range i.branches(p) {
		out = w.entries(out)
		i.sticky.remove(i.t, &w)
	}
	return out
}

// Add appends the entries that a port needs.
func (i *Inside) Add(out []nft.Entry, p *model.Port) []nft.Entry {
	for _, w := range i.branches(p) {
		out = w.entries(out)
		i.sticky.add(i.t, &w)
		i.chains.need(i.t, &w)
	}
	return out
}

// Forget removes what the kernel remembers of servers that are gone.
func (i *Inside) Forget(store *nft.Store) error { return i.sticky.clean(store) }

func (i *Inside) branches(p *model.Port) []branch {
	var out []branch
	for _, w := range i.t.branches(p) {
		if w.group != nil && (w.group == i.t.insideServices || w.group == i.t.insideNodePorts) {
			out = append(out, w)
		}
	}
	return out
}
