package podtopologyspread

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/plugins/tainttoleration"
)

// Name is the rule's name in Kubernetes.
const Name = "PodTopologySpread"

// Rule implements plugins.Filter and plugins.Score.
type Rule struct {
	// Selector gives what selects the pods like this one, from the Services
	// and the controller that it belongs to; nil when there is none. The
	// default constraints use it.
	Selector func(*corev1.Pod) labels.Selector
}

// Name implements plugins.Filter.
func (*Rule) Name() string { return Name }

// constraint is a spread constraint, ready to be counted.
type constraint struct {
	key        string
	maxSkew    int64
	minDomains int64
	selector   labels.Selector
	// Which nodes count: those that the pod's node affinity allows (by
	// default), those whose taints it tolerates (only when asked).
	honorAffinity, honorTaints bool
}

// defaults are the constraints of the cluster for pods that have none
// (kube-scheduler's system defaults).
var defaults = []struct {
	key     string
	maxSkew int64
}{
	{corev1.LabelHostname, 3},
	{corev1.LabelTopologyZone, 5},
}

// constraints gives the pod's own constraints of one kind.
func constraints(p *cache.Pod, action corev1.UnsatisfiableConstraintAction) ([]constraint, error) {
	var out []constraint
	for i := range p.Spec.TopologySpreadConstraints {
		in := &p.Spec.TopologySpreadConstraints[i]
		if in.WhenUnsatisfiable != action {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(in.LabelSelector)
		if err != nil {
			return nil, err
		}
		c := constraint{
			key: in.TopologyKey, maxSkew: int64(in.MaxSkew), minDomains: 1, selector: withKeys(selector, p, in.MatchLabelKeys),
			honorAffinity: in.NodeAffinityPolicy == nil || *in.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
			honorTaints:   in.NodeTaintsPolicy != nil && *in.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
		}
		if in.MinDomains != nil {
			c.minDomains = int64(*in.MinDomains)
		}
		out = append(out, c)
	}
	return out, nil
}

// withKeys narrows a selector to the pod's own values of the keys.
func withKeys(s labels.Selector, p *cache.Pod, keys []string) labels.Selector {
	if len(keys) == 0 {
		return s
	}
	same := labels.Set{}
	for _, key := range keys {
		if v, ok := p.Labels[key]; ok {
			same[key] = v
		}
	}
	requirements, _ := same.AsSelector().Requirements()
	return s.Add(requirements...)
}

// defaultConstraints gives the cluster's default constraints for the pod, or
// none when it belongs to nothing.
func (r *Rule) defaultConstraints(p *cache.Pod) []constraint {
	if r.Selector == nil || len(p.Labels) == 0 {
		return nil
	}
	selector := r.Selector(p.Pod)
	if selector == nil || selector.Empty() {
		return nil
	}
	out := make([]constraint, 0, len(defaults))
	for _, d := range defaults {
		out = append(out, constraint{key: d.key, maxSkew: d.maxSkew, minDomains: 1, selector: selector, honorAffinity: true})
	}
	return out
}

// inclusion decides whether a node counts for a constraint.
type inclusion struct {
	pod      *cache.Pod
	affinity nodeaffinity.RequiredNodeAffinity
}

// everywhere tells whether the pod has no affinity to nodes.
func (i *inclusion) everywhere() bool {
	a := i.pod.Spec.Affinity
	return len(i.pod.Spec.NodeSelector) == 0 &&
		(a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil)
}

func newInclusion(p *cache.Pod) inclusion {
	return inclusion{pod: p, affinity: nodeaffinity.GetRequiredNodeAffinity(p.Pod)}
}

func (i *inclusion) counts(c *constraint, n *cache.Node) bool {
	if c.honorAffinity {
		if ok, _ := i.affinity.Match(n.Node); !ok {
			return false
		}
	}
	return !c.honorTaints || tainttoleration.Tolerated(n.Node, i.pod.Spec.Tolerations)
}

// hasKeys tells whether a node has all the constraints' topology keys.
func hasKeys(n *cache.Node, constraints []constraint) bool {
	for i := range constraints {
		if _, ok := n.Labels[constraints[i].key]; !ok {
			return false
		}
	}
	return true
}

// about tells whether a pod is one that the constraint counts: of the same
// namespace, matching, and not on its way out. An empty selector counts none.
func (c *constraint) about(namespace string, p *cache.Pod) bool {
	return !c.selector.Empty() && p.Namespace == namespace && p.DeletionTimestamp == nil && c.selector.Matches(labels.Set(p.Labels))
}

// tally counts the pods that one of the constraints is about. With all, nodes
// count only when they have the topology keys of all constraints.
func tally(t *plugins.Turn, in *inclusion, constraints []constraint, i int, all bool) *cache.Tally {
	c := &constraints[i]
	namespace := t.Pod.Namespace
	spec := cache.TallySpec{
		Domain: c.key,
		Pod:    func(p *cache.Pod) bool { return c.about(namespace, p) },
		Node:   func(n *cache.Node) bool { return (!all || hasKeys(n, constraints)) && in.counts(c, n) },
	}
	// Pods that may only run on some nodes are counted there alone, which
	// differs from pod to pod.
	if in.everywhere() && !c.honorTaints {
		parts := []string{"spread", namespace, c.key, c.selector.String()}
		if all {
			for j := range constraints {
				parts = append(parts, constraints[j].key)
			}
		}
		spec.Key = strings.Join(parts, "\x02")
	}
	return t.Snapshot.Tally(spec)
}
