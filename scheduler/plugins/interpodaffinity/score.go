package interpodaffinity

import (
	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// hardWeight is what a required affinity of a pod that is there already counts
// when it matches the new pod: being wanted is a preference (kube-scheduler's
// default of hardPodAffinityWeight).
const hardWeight = 1

// PreScore implements plugins.Score.
func (r *Rule) PreScore(t *plugins.Turn, _ []*cache.Node) plugins.Scorer {
	p := t.Pod
	prefers := len(p.PreferredAffinity)+len(p.PreferredAntiAffinity) > 0
	if !prefers && len(t.Snapshot.WithAffinity) == 0 {
		return nil
	}
	s := scorer{}
	for _, n := range t.Snapshot.WithAffinity {
		for _, there := range n.WithAffinity {
			for i := range there.Affinity {
				r.weigh(s, n, &there.Affinity[i], p, hardWeight)
			}
			r.weighAll(s, n, there.PreferredAffinity, p, 1)
			r.weighAll(s, n, there.PreferredAntiAffinity, p, -1)
		}
	}
	if prefers {
		for _, n := range t.Snapshot.Nodes {
			for _, there := range n.Pods {
				r.weighAll(s, n, p.PreferredAffinity, there, 1)
				r.weighAll(s, n, p.PreferredAntiAffinity, there, -1)
			}
		}
	}
	if len(s) == 0 {
		return nil
	}
	return s
}

func (r *Rule) weighAll(s scorer, n *cache.Node, terms []cache.WeightedTerm, p *cache.Pod, sign int64) {
	for i := range terms {
		r.weigh(s, n, &terms[i].Term, p, sign*int64(terms[i].Weight))
	}
}

func (r *Rule) weigh(s scorer, n *cache.Node, term *cache.Term, p *cache.Pod, weight int64) {
	if value, ok := n.Labels[term.TopologyKey]; ok && term.Matches(p.Pod, r.Namespace) {
		of := s[term.TopologyKey]
		if of == nil {
			of = map[string]int64{}
			s[term.TopologyKey] = of
		}
		of[value] += weight
	}
}

// scorer is the sum of weights for each value of each topology key.
type scorer map[string]map[string]int64

// Score implements plugins.Scorer.
func (s scorer) Score(n *cache.Node) int64 {
	var sum int64
	for key, values := range s {
		if v, ok := n.Labels[key]; ok {
			sum += values[v]
		}
	}
	return sum
}

// Normalize implements plugins.Normalizer.
func (scorer) Normalize(_ []*cache.Node, scores []int64) {
	if len(scores) == 0 {
		return
	}
	lowest, highest := scores[0], scores[0]
	for _, v := range scores {
		lowest, highest = min(lowest, v), max(highest, v)
	}
	for i, v := range scores {
		scores[i] = 0
		if highest > lowest {
			scores[i] = int64(plugins.MaxScore * (float64(v-lowest) / float64(highest-lowest)))
		}
	}
}
