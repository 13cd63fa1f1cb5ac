// Package nodeaffinity is the rule of spec.nodeSelector and
// spec.affinity.nodeAffinity, required and preferred.
//
// Reads labels and names of nodes; writes nothing. Start at Rule.
package nodeaffinity

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "NodeAffinity"

var (
	mismatch = plugins.Reject(Name, plugins.Unresolvable, "node(s) didn't match Pod's node affinity/selector")
	conflict = plugins.Reject(Name, plugins.Unresolvable, "pod affinity terms conflict")
)

// Rule implements plugins.Filter and plugins.Score.
type Rule struct{}

// Name implements plugins.Filter.
func (Rule) Name() string { return Name }

// PreFilter implements plugins.Filter.
func (Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	required := requiredTerms(t.Pod)
	if len(t.Pod.Spec.NodeSelector) == 0 && required == nil {
		return nil, nil
	}
	names, narrow := nodeNames(required)
	if narrow && len(names) == 0 {
		return nil, conflict
	}
	c := check{affinity: nodeaffinity.GetRequiredNodeAffinity(t.Pod.Pod)}
	if narrow {
		return narrowed{check: c, names: names}, nil
	}
	return c, nil
}

type check struct {
	affinity nodeaffinity.RequiredNodeAffinity
}

// Filter implements plugins.Check.
func (c check) Filter(n *cache.Node) *plugins.Rejection {
	// A term that cannot be parsed matches nothing.
	if ok, _ := c.affinity.Match(n.Node); !ok {
		return mismatch
	}
	return nil
}

// narrowed is the check of a pod that names its nodes, as a DaemonSet's do.
type narrowed struct {
	check
	names []string
}

// NodeNames implements plugins.Narrow.
func (c narrowed) NodeNames() []string { return c.names }

func requiredTerms(p *cache.Pod) *corev1.NodeSelector {
	if a := p.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

// nodeNames gives the nodes that a selector names by metadata.name; narrow is
// false when any of its terms, of which one must match, names none.
func nodeNames(s *corev1.NodeSelector) (names []string, narrow bool) {
	if s == nil {
		return nil, false
	}
	all := map[string]bool{}
	for _, term := range s.NodeSelectorTerms {
		of, ok := termNames(term)
		if !ok {
			return nil, false
		}
		for name := range of {
			if !all[name] {
				all[name] = true
				names = append(names, name)
			}
		}
	}
	return names, len(s.NodeSelectorTerms) > 0
}

// termNames gives the names that satisfy all of a term's requirements on
// metadata.name; ok is false when there is none.
func termNames(term corev1.NodeSelectorTerm) (names map[string]bool, ok bool) {
	for _, r := range term.MatchFields {
		if r.Key != "metadata.name" || r.Operator != corev1.NodeSelectorOpIn {
			continue
		}
		these := map[string]bool{}
		for _, v := range r.Values {
			if !ok || names[v] {
				these[v] = true
			}
		}
		names, ok = these, true
	}
	return names, ok
}

// PreScore implements plugins.Score.
func (Rule) PreScore(t *plugins.Turn, _ []*cache.Node) plugins.Scorer {
	a := t.Pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return nil
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil { // the API server lets no such pod pass
		return nil
	}
	return scorer{terms}
}

type scorer struct {
	terms *nodeaffinity.PreferredSchedulingTerms
}

// Score implements plugins.Scorer.
func (s scorer) Score(n *cache.Node) int64 { return s.terms.Score(n.Node) }

// Normalize implements plugins.Normalizer.
func (scorer) Normalize(_ []*cache.Node, scores []int64) { plugins.ScaleToMax(scores, false) }

// WakesOn implements plugins.Waker.
func (Rule) WakesOn() plugins.Kind { return plugins.NodeAdded | plugins.NodeLabels }

// Wakes implements plugins.Waker.
func (Rule) Wakes(p *cache.Pod, e *plugins.Event) bool {
	ok, _ := nodeaffinity.GetRequiredNodeAffinity(p.Pod).Match(e.Node)
	return ok
}
