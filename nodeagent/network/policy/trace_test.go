package policy_test

import (
	"net/netip"

	"github.com/skiffcluster/skiff/nodeagent/network/policy"
)

// packet opens a connection.
type packet struct {
	from, to netip.Addr
	protocol byte
	port     uint16
}

// allows sends a packet through the rules of a state, as the kernel does.
func allows(s *policy.State, p packet) bool {
	if p.from == p.to {
		return true
	}
	if chain, isolated := s.Egress[p.from]; isolated && !accepts(s, chain, p) {
		return false
	}
	if chain, isolated := s.Ingress[p.to]; isolated && !accepts(s, chain, p) {
		return false
	}
	return true
}

func accepts(s *policy.State, chain string, p packet) bool {
	for _, r := range s.Chains[chain] {
		switch r.Verdict {
		case policy.Drop:
			return false
		case policy.Jump:
			if accepts(s, r.Jump, p) {
				return true
			}
		case policy.Accept:
			if matches(s, r, p) {
				return true
			}
		}
	}
	return false
}

func matches(s *policy.State, r policy.Rule, p packet) bool {
	if p.to.Is6() != r.IPv6 || r.Protocol != 0 && r.Protocol != p.protocol || r.From != 0 && (p.port < r.From || p.port > r.To) {
		return false
	}
	if r.Ports != "" && !s.Sets[r.Ports].Elements[policy.Element{First: p.to, Port: p.port}] {
		return false
	}
	if r.Peers == "" {
		return true
	}
	peer := p.from
	if r.Direction == policy.Egress {
		peer = p.to
	}
	for e := range s.Sets[r.Peers].Elements {
		if e.First == peer || e.Last.IsValid() && !peer.Less(e.First) && !e.Last.Less(peer) {
			return true
		}
	}
	return false
}
