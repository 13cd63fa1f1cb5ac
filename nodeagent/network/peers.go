package network

import (
	"net/netip"
	"slices"
)

// Peer is another node of the cluster.
type Peer struct {
	Name string
	// CIDRs are those of its pods, Addresses its own.
	CIDRs     []netip.Prefix
	Addresses []netip.Addr
}

// Router is a Network that connects pods of different nodes.
type Router interface {
	// SetPeers tells all other nodes; it may be called before SetCIDRs.
	SetPeers(peers []Peer) error
}

// peerRoute is how a peer's pods are reached.
type peerRoute struct {
	cidr netip.Prefix
	// via is the node's address on a network of ours, or in the overlay.
	via netip.Addr
	// outer is the address that the overlay sends to; invalid: there is a direct
	// way.
	outer netip.Addr
	// id names the node in the overlay: the first of its CIDRs.
	id netip.Prefix
}

// planRoutes finds a way to the pods of every peer: straight to the node's
// address where that is on one link with us, else through the overlay. reach
// tells of an address of a node whether we reach it, and whether directly.
func planRoutes(own []netip.Prefix, peers []Peer, reach func(netip.Addr) (ok, direct bool)) []peerRoute {
	var routes []peerRoute
	for _, p := range peers {
		for _, cidr := range p.CIDRs {
			if slices.ContainsFunc(own, cidr.Overlaps) {
				continue // what is not ours alone would take our own pods away
			}
			r := peerRoute{cidr: cidr.Masked(), via: cidr.Masked().Addr(), id: p.CIDRs[0]}
			found := false
			for _, a := range p.Addresses {
				ok, direct := reach(a)
				if direct && a.Is4() == cidr.Addr().Is4() {
					r.via, r.outer, found = a, netip.Addr{}, true
					break
				}
				// All nodes have the same families: with IPv4 first, one link serves
				// all, and its header is the smaller.
				if ok && (!r.outer.IsValid() || r.outer.Is6() && a.Is4()) {
					r.outer, found = a, true
				}
			}
			if found {
				routes = append(routes, r)
			}
		}
	}
	slices.SortFunc(routes, func(a, b peerRoute) int { return a.cidr.Addr().Compare(b.cidr.Addr()) })
	// Two nodes with the same pods: the first is as good as the other.
	return slices.CompactFunc(routes, func(a, b peerRoute) bool { return a.cidr == b.cidr })
}

// overlayName names the link to nodes in other networks after the bridge: 15
// characters at most.
func overlayName(bridge string) string { return bridge[:min(len(bridge), 12)] + ".vx" }
