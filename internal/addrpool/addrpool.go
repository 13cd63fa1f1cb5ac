// Package addrpool is a set of IP addresses as people write it: networks and
// ranges, "192.0.2.0/28,2001:db8::10-2001:db8::1f". It is pure; start at Parse.
package addrpool

import (
	"fmt"
	"iter"
	"net/netip"
	"strings"
)

// Pool is a set of addresses. The zero value is empty.
type Pool []span

type span struct{ first, last netip.Addr }

// Parse reads networks and ranges, separated by commas.
func Parse(s string) (Pool, error) {
	var p Pool
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		r, err := parseSpan(part)
		if err != nil {
			return nil, err
		}
		p = append(p, r)
	}
	return p, nil
}

func parseSpan(s string) (span, error) {
	if from, to, ok := strings.Cut(s, "-"); ok {
		first, err := netip.ParseAddr(strings.TrimSpace(from))
		if err != nil {
			return span{}, fmt.Errorf("address range %q: %w", s, err)
		}
		last, err := netip.ParseAddr(strings.TrimSpace(to))
		if err != nil {
			return span{}, fmt.Errorf("address range %q: %w", s, err)
		}
		if first.Is4() != last.Is4() || last.Less(first) {
			return span{}, fmt.Errorf("address range %q: the last address must not be before the first", s)
		}
		return span{first, last}, nil
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return span{a, a}, nil
	}
	n, err := netip.ParsePrefix(s)
	if err != nil {
		return span{}, fmt.Errorf("address range %q: want a network such as 192.0.2.0/28, a range such as 192.0.2.1-192.0.2.9, or an address", s)
	}
	return span{n.Masked().Addr(), lastOf(n)}, nil
}

func lastOf(n netip.Prefix) netip.Addr {
	b := n.Masked().Addr().AsSlice()
	for i := n.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// Contains tells whether a is in the pool.
func (p Pool) Contains(a netip.Addr) bool {
	for _, r := range p {
		if a.Is4() == r.first.Is4() && !a.Less(r.first) && !r.last.Less(a) {
			return true
		}
	}
	return false
}

// All gives the addresses of one family in the order written.
func (p Pool) All(is6 bool) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for _, r := range p {
			if r.first.Is6() != is6 {
				continue
			}
			for a := r.first; a.IsValid() && !r.last.Less(a); a = a.Next() {
				if !yield(a) {
					return
				}
			}
		}
	}
}
