package network

import (
	"net/netip"
	"slices"
	"testing"
)

func TestPlanRoutes(t *testing.T) {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	// 192.0.2.0/24 and 2001:db8::/64 are on our link, 203.0.113.0/24 nowhere.
	reach := func(a netip.Addr) (ok, direct bool) {
		return !prefix("203.0.113.0/24").Contains(a), prefix("192.0.2.0/24").Contains(a) || prefix("2001:db8::/64").Contains(a)
	}
	four, six := prefix("10.1.2.0/24"), prefix("fd00:2::/64")
	for _, c := range []struct {
		name string
		peer Peer
		want []peerRoute
	}{
		{
			"a node on our link is reached by its address",
			Peer{CIDRs: []netip.Prefix{four}, Addresses: []netip.Addr{addr("192.0.2.7")}},
			[]peerRoute{{cidr: four, via: addr("192.0.2.7"), id: four}},
		},
		{
			"a node elsewhere is reached through the overlay",
			Peer{CIDRs: []netip.Prefix{four}, Addresses: []netip.Addr{addr("198.51.100.7")}},
			[]peerRoute{{cidr: four, via: addr("10.1.2.0"), outer: addr("198.51.100.7"), id: four}},
		},
		{
			"of two addresses the one on our link is better",
			Peer{CIDRs: []netip.Prefix{four}, Addresses: []netip.Addr{addr("198.51.100.7"), addr("192.0.2.7")}},
			[]peerRoute{{cidr: four, via: addr("192.0.2.7"), id: four}},
		},
		{
			"each family goes by an address of its own",
			Peer{CIDRs: []netip.Prefix{four, six}, Addresses: []netip.Addr{addr("192.0.2.7"), addr("2001:db8::7")}},
			[]peerRoute{{cidr: four, via: addr("192.0.2.7"), id: four}, {cidr: six, via: addr("2001:db8::7"), id: four}},
		},
		{
			"a family without an address goes through the overlay of the other",
			Peer{CIDRs: []netip.Prefix{four, six}, Addresses: []netip.Addr{addr("192.0.2.7")}},
			[]peerRoute{{cidr: four, via: addr("192.0.2.7"), id: four}, {cidr: six, via: addr("fd00:2::"), outer: addr("192.0.2.7"), id: four}},
		},
		{
			"the overlay goes by IPv4 where a node has it",
			Peer{CIDRs: []netip.Prefix{six, four}, Addresses: []netip.Addr{addr("2001:db8:1::7"), addr("198.51.100.7")}},
			[]peerRoute{{cidr: four, via: addr("10.1.2.0"), outer: addr("198.51.100.7"), id: six}, {cidr: six, via: addr("fd00:2::"), outer: addr("198.51.100.7"), id: six}},
		},
		{
			"a node with IPv6 alone is reached by an overlay of that",
			Peer{CIDRs: []netip.Prefix{six}, Addresses: []netip.Addr{addr("2001:db8:1::7")}},
			[]peerRoute{{cidr: six, via: addr("fd00:2::"), outer: addr("2001:db8:1::7"), id: six}},
		},
		{
			"a node that can't be reached has no route",
			Peer{CIDRs: []netip.Prefix{four}, Addresses: []netip.Addr{addr("203.0.113.7")}},
			nil,
		},
		{
			"what overlaps with our own pods is left alone",
			Peer{CIDRs: []netip.Prefix{prefix("10.1.0.0/16")}, Addresses: []netip.Addr{addr("192.0.2.7")}},
			nil,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := planRoutes([]netip.Prefix{prefix("10.1.1.0/24")}, []Peer{c.peer}, reach); !slices.Equal(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
}
