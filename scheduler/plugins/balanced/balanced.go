// Package balanced is the rule that a node is better the more equally its CPU
// and memory would be used, so that neither is left over without the other.
//
// Reads requests of pods and allocatable amounts of nodes; writes nothing.
// Start at Rule.
package balanced

import (
	"math"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "NodeResourcesBalancedAllocation"

// Rule implements plugins.Score.
type Rule struct{}

// Name implements plugins.Score.
func (Rule) Name() string { return Name }

// PreScore implements plugins.Score. Pods that request neither have no
// preference: all of them would go to the same, most balanced node.
func (Rule) PreScore(t *plugins.Turn, _ []*cache.Node) plugins.Scorer {
	if t.Pod.Requests.MilliCPU == 0 && t.Pod.Requests.Memory == 0 {
		return nil
	}
	return scorer{&t.Pod.Requests}
}

type scorer struct{ want *cache.Resources }

// Score implements plugins.Scorer: one minus the standard deviation of the two
// shares, which for two values is half their distance.
func (s scorer) Score(n *cache.Node) int64 {
	have, used := &n.Allocatable, &n.Requested
	if have.MilliCPU == 0 || have.Memory == 0 {
		return plugins.MaxScore
	}
	cpu := share(used.MilliCPU+s.want.MilliCPU, have.MilliCPU)
	memory := share(used.Memory+s.want.Memory, have.Memory)
	return int64((1 - math.Abs(cpu-memory)/2) * plugins.MaxScore)
}

func share(used, have int64) float64 { return min(1, float64(used)/float64(have)) }
