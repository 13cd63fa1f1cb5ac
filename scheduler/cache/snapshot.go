package cache

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Snapshot is what one cycle sees. It belongs to one goroutine.
type Snapshot struct {
	// Nodes are the cluster's nodes; zones take turns, so that a sample of
	// neighbours in the list comes from all zones.
	Nodes []*Node
	// WithAffinity and WithAntiAffinity are the nodes that have pods with any
	// affinity to pods, and with required anti-affinity.
	WithAffinity     []*Node
	WithAntiAffinity []*Node

	byName map[string]*Node
	order  uint64 // the cache's order that Nodes was made for

	changes changes
	tallies map[string]*Tally
	uses    uint64
	anti    antiTerms
}

// Node gives a node by name, or nil.
func (s *Snapshot) Node(name string) *Node { return s.byName[name] }

// ClaimUsed tells whether a pod on any node uses a claim (namespace/name).
func (s *Snapshot) ClaimUsed(key string) bool {
	for _, n := range s.Nodes {
		if n.Claims[key] > 0 {
			return true
		}
	}
	return false
}

// listAffinity finds again which nodes have pods with affinity.
func (s *Snapshot) listAffinity() {
	s.WithAffinity, s.WithAntiAffinity = s.WithAffinity[:0], s.WithAntiAffinity[:0]
	for _, n := range s.Nodes {
		if len(n.WithAffinity) > 0 {
			s.WithAffinity = append(s.WithAffinity, n)
		}
		if len(n.WithAntiAffinity) > 0 {
			s.WithAntiAffinity = append(s.WithAntiAffinity, n)
		}
	}
}

// interleave orders nodes so that zones take turns, by name within a zone.
func interleave(nodes []*Node) []*Node {
	byZone := map[string][]*Node{}
	var zones []string
	for _, n := range nodes {
		z := zoneOf(n.Node)
		if byZone[z] == nil {
			zones = append(zones, z)
		}
		byZone[z] = append(byZone[z], n)
	}
	slices.Sort(zones)
	for _, list := range byZone {
		slices.SortFunc(list, func(a, b *Node) int { return cmp.Compare(a.Name, b.Name) })
	}
	out := make([]*Node, 0, len(nodes))
	for i := 0; len(out) < len(nodes); i++ {
		for _, z := range zones {
			if i < len(byZone[z]) {
				out = append(out, byZone[z][i])
			}
		}
	}
	return out
}

func zoneOf(n *corev1.Node) string {
	return n.Labels[corev1.LabelTopologyRegion] + "\x00" + n.Labels[corev1.LabelTopologyZone]
}
