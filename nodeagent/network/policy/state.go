package policy

import (
	"cmp"
	"net/netip"
	"slices"
)

// State is what the kernel has to hold.
type State struct {
	Sets   map[string]Set
	Chains map[string][]Rule
	// Ingress and Egress lead from the address of a pod that is isolated in that
	// direction to the chain of its policies.
	Ingress, Egress map[netip.Addr]string
}

// Kind of a set's elements.
type Kind int

// The kinds of set.
const (
	Addresses    Kind = iota
	Ranges            // of addresses, which don't overlap
	AddressPorts      // addresses with a port each
)

// Set is a set of elements of one kind and one IP version.
type Set struct {
	Kind     Kind
	IPv6     bool
	Elements map[Element]bool
}

// Element of a set: First alone, First to Last, or First with Port.
type Element struct {
	First, Last netip.Addr
	Port        uint16
}

// Direction of traffic, seen from the pod that a policy selects.
type Direction int

// The directions.
const (
	Ingress Direction = iota
	Egress
)

// Rule accepts, or jumps, or drops what matches all that is set.
type Rule struct {
	IPv6 bool // else IPv4; for Drop and Jump both
	// Peers is the set that the other side's address is in: an Ingress rule's
	// source, an Egress rule's target.
	Peers     string
	Direction Direction
	// Protocol is a number of IANA's, 0 for any; From and To bound the port,
	// both 0 for any.
	Protocol byte
	From, To uint16
	// Ports is the set that target address and port are in.
	Ports string

	Verdict Verdict
	Jump    string // chain
}

// Verdict of a rule.
type Verdict int

// The verdicts.
const (
	Accept Verdict = iota
	Jump
	Drop
)

// addrRange is all addresses from first to last.
type addrRange struct{ first, last netip.Addr }

func rangeOf(p netip.Prefix) addrRange {
	p = p.Masked()
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ := netip.AddrFromSlice(b) // as long as it was
	return addrRange{p.Addr(), last}
}

// without takes excepted networks out of one that they lie in.
func without(block netip.Prefix, except []netip.Prefix) []addrRange {
	rest := []addrRange{rangeOf(block)}
	except = slices.Clone(except)
	slices.SortFunc(except, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	for _, e := range except {
		hole := rangeOf(e)
		var next []addrRange
		for _, r := range rest {
			if hole.last.Less(r.first) || r.last.Less(hole.first) {
				next = append(next, r)
				continue
			}
			if r.first.Less(hole.first) {
				next = append(next, addrRange{r.first, hole.first.Prev()})
			}
			if hole.last.Less(r.last) {
				next = append(next, addrRange{hole.last.Next(), r.last})
			}
		}
		rest = next
	}
	return rest
}

func (r addrRange) contains(a netip.Addr) bool {
	return a.Is4() == r.first.Is4() && !a.Less(r.first) && !r.last.Less(a)
}
