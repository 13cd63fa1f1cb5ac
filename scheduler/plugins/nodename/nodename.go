// Package nodename is the rule that a pod which names a node only runs there.
//
// Reads spec.nodeName of the pod; writes nothing. Start at Rule.
package nodename

import (
	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "NodeName"

var mismatch = plugins.Reject(Name, plugins.Unresolvable, "node(s) didn't match the requested node name")

// Rule implements plugins.Filter.
type Rule struct{}

// Name implements plugins.Filter.
func (Rule) Name() string { return Name }

// PreFilter implements plugins.Filter.
func (Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	if t.Pod.Spec.NodeName == "" {
		return nil, nil
	}
	return check(t.Pod.Spec.NodeName), nil
}

type check string

// Filter implements plugins.Check.
func (c check) Filter(n *cache.Node) *plugins.Rejection {
	if n.Name != string(c) {
		return mismatch
	}
	return nil
}

// WakesOn implements plugins.Waker.
func (Rule) WakesOn() plugins.Kind { return plugins.NodeAdded }

// Wakes implements plugins.Waker.
func (Rule) Wakes(p *cache.Pod, e *plugins.Event) bool { return e.Node.Name == p.Spec.NodeName }
