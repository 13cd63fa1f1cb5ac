package cycle

import (
	"slices"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Explanation says how a node was judged for a pod.
type Explanation struct {
	Node    string
	Reasons []string         // why the pod does not fit; empty when it does
	Rule    string           // the rule that rejected it
	Scores  map[string]int64 // weighted, by rule, when it fits
	Total   int64
}

// Explain judges all nodes of a snapshot for a pod, without sampling; the best
// come first. It is pure: it may be called at any time with Cache.Fresh.
func Explain(rules Rules, snapshot *cache.Snapshot, p *cache.Pod) []Explanation {
	c := &Cycle{Rules: rules, Parallelism: 1}
	t := &plugins.Turn{Pod: p, Snapshot: snapshot}
	checks, all := c.preFilter(t)
	out := make([]Explanation, 0, len(snapshot.Nodes))
	var fits []*cache.Node
	for _, n := range snapshot.Nodes {
		e := Explanation{Node: n.Name}
		r := all
		if r == nil {
			r = run(n, checks)
		}
		if r != nil {
			e.Rule, e.Reasons = r.Rule, r.Reasons
		} else {
			fits = append(fits, n)
		}
		out = append(out, e)
	}
	for _, rule := range rules.Scores {
		explainScores(t, rule, fits, out)
	}
	slices.SortStableFunc(out, func(a, b Explanation) int {
		if (a.Rule == "") != (b.Rule == "") {
			if a.Rule == "" {
				return -1
			}
			return 1
		}
		return int(b.Total - a.Total)
	})
	return out
}

// explainScores adds one rule's scores; out is in the order of the snapshot.
func explainScores(t *plugins.Turn, rule Weighted, fits []*cache.Node, out []Explanation) {
	s := rule.PreScore(t, fits)
	if s == nil {
		return
	}
	scores := make([]int64, len(fits))
	for i, n := range fits {
		scores[i] = s.Score(n)
	}
	if norm, ok := s.(plugins.Normalizer); ok {
		norm.Normalize(fits, scores)
	}
	for i, n := range fits {
		e := &out[n.Index]
		if e.Scores == nil {
			e.Scores = map[string]int64{}
		}
		e.Scores[rule.Name()] = scores[i] * rule.Weight
		e.Total += scores[i] * rule.Weight
	}
}
