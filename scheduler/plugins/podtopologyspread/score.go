package podtopologyspread

import (
	"math"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// ignored marks nodes that lack a topology key; they get no score.
const ignored = math.MinInt64

type scorer struct {
	constraints []constraint
	// all is whether nodes without all keys are ignored: for the pod's own
	// constraints, but not for the cluster's default ones.
	all     bool
	tallies []*cache.Tally
	// weights make constraints with many domains, in which counts are small,
	// weigh as much as those with few.
	weights []float64
}

// PreScore implements plugins.Score.
func (r *Rule) PreScore(t *plugins.Turn, nodes []*cache.Node) plugins.Scorer {
	s := &scorer{all: true}
	var err error
	if len(t.Pod.Spec.TopologySpreadConstraints) > 0 {
		s.constraints, err = constraints(t.Pod, corev1.ScheduleAnyway)
	} else {
		s.constraints, s.all = r.defaultConstraints(t.Pod), false
	}
	if err != nil || len(s.constraints) == 0 { // the API server lets no wrong selector pass
		return nil
	}
	in := newInclusion(t.Pod)
	for i := range s.constraints {
		s.tallies = append(s.tallies, tally(t, &in, s.constraints, i, s.all))
	}
	s.weigh(nodes)
	return s
}

// weigh finds in how many domains the nodes are that are to be scored.
func (s *scorer) weigh(nodes []*cache.Node) {
	s.weights = make([]float64, len(s.constraints))
	for i := range s.constraints {
		size := 0
		if s.constraints[i].key == corev1.LabelHostname {
			for _, n := range nodes {
				if !s.all || hasKeys(n, s.constraints) {
					size++
				}
			}
		} else {
			domains := map[*cache.Domain]bool{}
			for _, n := range nodes {
				if d, _ := s.tallies[i].At(n); d != nil && !domains[d] {
					domains[d] = true
				}
			}
			size = len(domains)
		}
		s.weights[i] = math.Log(float64(size + 2))
	}
}

// Score implements plugins.Scorer: lower is better until Normalize.
func (s *scorer) Score(n *cache.Node) int64 {
	if s.all && !hasKeys(n, s.constraints) {
		return ignored
	}
	var sum float64
	for i := range s.constraints {
		domain, pods := s.tallies[i].At(n)
		if domain == nil {
			continue
		}
		if s.constraints[i].key != corev1.LabelHostname {
			pods = domain.Pods
		}
		sum += float64(pods)*s.weights[i] + float64(s.constraints[i].maxSkew-1)
	}
	return int64(math.Round(sum))
}

// Normalize implements plugins.Normalizer.
func (s *scorer) Normalize(_ []*cache.Node, scores []int64) {
	lowest, highest := int64(math.MaxInt64), int64(0)
	for _, v := range scores {
		if v != ignored {
			lowest, highest = min(lowest, v), max(highest, v)
		}
	}
	for i, v := range scores {
		switch {
		case v == ignored:
			scores[i] = 0
		case highest == 0:
			scores[i] = plugins.MaxScore
		default:
			scores[i] = plugins.MaxScore * (highest + lowest - v) / highest
		}
	}
}
