// Package tainttoleration is the rule that tainted nodes only take pods that
// tolerate their taints, and take others last for taints of the soft kind.
//
// Reads taints of nodes and tolerations of the pod; writes nothing. Start at
// Rule.
package tainttoleration

import (
	corev1 "k8s.io/api/core/v1"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "TaintToleration"

var untolerated = plugins.Reject(Name, plugins.Unresolvable, "node(s) had untolerated taint(s)")

// Rule implements plugins.Filter and plugins.Score.
type Rule struct{}

// Name implements plugins.Filter.
func (Rule) Name() string { return Name }

// PreFilter implements plugins.Filter.
func (Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	return check(t.Pod.Spec.Tolerations), nil
}

type check []corev1.Toleration

// Filter implements plugins.Check.
func (c check) Filter(n *cache.Node) *plugins.Rejection {
	if len(n.Spec.Taints) == 0 || Tolerated(n.Node, c) {
		return nil
	}
	return untolerated
}

// Tolerated tells whether the tolerations cover all of a node's taints that
// keep pods away.
func Tolerated(n *corev1.Node, tolerations []corev1.Toleration) bool {
	for i := range n.Spec.Taints {
		taint := &n.Spec.Taints[i]
		if taint.Effect != corev1.TaintEffectPreferNoSchedule &&
			!schedulinghelper.TolerationsTolerateTaint(klog.Background(), tolerations, taint, true) {
			return false
		}
	}
	return true
}

// PreScore implements plugins.Score.
func (Rule) PreScore(t *plugins.Turn, nodes []*cache.Node) plugins.Scorer {
	for _, n := range nodes {
		for i := range n.Spec.Taints {
			if n.Spec.Taints[i].Effect == corev1.TaintEffectPreferNoSchedule {
				return newScorer(t.Pod.Spec.Tolerations)
			}
		}
	}
	return nil // all nodes would get the same score
}

// scorer holds the tolerations that apply to PreferNoSchedule.
type scorer []corev1.Toleration

func newScorer(tolerations []corev1.Toleration) scorer {
	s := scorer{}
	for _, t := range tolerations {
		if t.Effect == "" || t.Effect == corev1.TaintEffectPreferNoSchedule {
			s = append(s, t)
		}
	}
	return s
}

// Score implements plugins.Scorer: the number of taints not tolerated.
func (s scorer) Score(n *cache.Node) int64 {
	var count int64
	for i := range n.Spec.Taints {
		taint := &n.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule &&
			!schedulinghelper.TolerationsTolerateTaint(klog.Background(), s, taint, true) {
			count++
		}
	}
	return count
}

// Normalize implements plugins.Normalizer.
func (scorer) Normalize(_ []*cache.Node, scores []int64) { plugins.ScaleToMax(scores, true) }

// WakesOn implements plugins.Waker.
func (Rule) WakesOn() plugins.Kind { return plugins.NodeAdded | plugins.NodeTaints }

// Wakes implements plugins.Waker.
func (Rule) Wakes(p *cache.Pod, e *plugins.Event) bool { return Tolerated(e.Node, p.Spec.Tolerations) }
