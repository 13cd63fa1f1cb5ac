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
	namespace   string
	constraints []constraint
	// all is whether nodes without all keys are ignored: for the pod's own
	// constraints, but not for the cluster's default ones.
	all bool
	// counts are the matching pods of each domain, nil for the host name,
	// which is counted at the node itself.
	counts []map[string]int64
	// weights make constraints with many domains, in which counts are small,
	// weigh as much as those with few.
	weights []float64
}

// PreScore implements plugins.Score.
func (r *Rule) PreScore(t *plugins.Turn, nodes []*cache.Node) plugins.Scorer {
	s := &scorer{namespace: t.Pod.Namespace, all: true}
	var err error
	if len(t.Pod.Spec.TopologySpreadConstraints) > 0 {
		s.constraints, err = constraints(t.Pod, corev1.ScheduleAnyway)
	} else {
		s.constraints, s.all = r.defaultConstraints(t.Pod), false
	}
	if err != nil || len(s.constraints) == 0 { // the API server lets no wrong selector pass
		return nil
	}
	s.findDomains(nodes)
	s.countAll(t)
	return s
}

// findDomains finds the domains of the nodes that are to be scored.
func (s *scorer) findDomains(nodes []*cache.Node) {
	s.counts = make([]map[string]int64, len(s.constraints))
	s.weights = make([]float64, len(s.constraints))
	hosts := 0
	for _, n := range nodes {
		if s.all && !hasKeys(n, s.constraints) {
			continue
		}
		hosts++
		for i := range s.constraints {
			key := s.constraints[i].key
			if key == corev1.LabelHostname {
				continue
			}
			if value, ok := n.Labels[key]; ok {
				if s.counts[i] == nil {
					s.counts[i] = map[string]int64{}
				}
				s.counts[i][value] = 0
			}
		}
	}
	for i := range s.constraints {
		size := len(s.counts[i])
		if s.constraints[i].key == corev1.LabelHostname {
			size = hosts
		}
		s.weights[i] = math.Log(float64(size + 2))
	}
}

// countAll counts the matching pods of all nodes, also of those not scored.
func (s *scorer) countAll(t *plugins.Turn) {
	zones := false
	for _, of := range s.counts {
		zones = zones || len(of) > 0
	}
	if !zones {
		return
	}
	in := newInclusion(t.Pod)
	for _, n := range t.Snapshot.Nodes {
		if len(n.Pods) == 0 || s.all && !hasKeys(n, s.constraints) {
			continue
		}
		for i := range s.constraints {
			c := &s.constraints[i]
			if len(s.counts[i]) == 0 {
				continue
			}
			value, ok := n.Labels[c.key]
			if !ok || !in.counts(c, n) {
				continue
			}
			if _, wanted := s.counts[i][value]; wanted {
				s.counts[i][value] += matching(n, s.namespace, c.selector)
			}
		}
	}
}

// Score implements plugins.Scorer: lower is better until Normalize.
func (s *scorer) Score(n *cache.Node) int64 {
	if s.all && !hasKeys(n, s.constraints) {
		return ignored
	}
	var sum float64
	for i := range s.constraints {
		c := &s.constraints[i]
		value, ok := n.Labels[c.key]
		if !ok {
			continue
		}
		count := s.counts[i][value]
		if c.key == corev1.LabelHostname {
			count = matching(n, s.namespace, c.selector)
		}
		sum += float64(count)*s.weights[i] + float64(c.maxSkew-1)
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
