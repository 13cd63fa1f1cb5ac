// Package nodeunschedulable is the rule that cordoned nodes take no pods but
// those that tolerate it.
//
// Reads spec.unschedulable of nodes and the pod's tolerations; writes
// nothing. Start at Rule.
package nodeunschedulable

import (
	corev1 "k8s.io/api/core/v1"
	schedulinghelper "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "NodeUnschedulable"

var cordoned = plugins.Reject(Name, plugins.Unresolvable, "node(s) were unschedulable")

// Rule implements plugins.Filter.
type Rule struct{}

// Name implements plugins.Filter.
func (Rule) Name() string { return Name }

// PreFilter implements plugins.Filter.
func (Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	if tolerates(t.Pod) {
		return nil, nil
	}
	return check{}, nil
}

type check struct{}

// Filter implements plugins.Check.
func (check) Filter(n *cache.Node) *plugins.Rejection {
	if n.Spec.Unschedulable {
		return cordoned
	}
	return nil
}

func tolerates(p *cache.Pod) bool {
	return schedulinghelper.TolerationsTolerateTaint(klog.Background(), p.Spec.Tolerations,
		&corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}, true)
}

// WakesOn implements plugins.Waker.
func (Rule) WakesOn() plugins.Kind { return plugins.NodeAdded | plugins.NodeTaints }

// Wakes implements plugins.Waker.
func (Rule) Wakes(_ *cache.Pod, e *plugins.Event) bool { return !e.Node.Spec.Unschedulable }
