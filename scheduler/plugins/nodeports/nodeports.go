// Package nodeports is the rule that two pods on a node cannot have the same
// host port.
//
// Reads hostPort of pods; writes nothing. Start at Rule.
package nodeports

import (
	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "NodePorts"

var taken = plugins.Reject(Name, plugins.Unschedulable, "node(s) didn't have free ports for the requested pod ports")

// Rule implements plugins.Filter.
type Rule struct{}

// Name implements plugins.Filter.
func (Rule) Name() string { return Name }

// PreFilter implements plugins.Filter.
func (Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	if len(t.Pod.Ports) == 0 {
		return nil, nil
	}
	return check(t.Pod.Ports), nil
}

type check []cache.Port

// Filter implements plugins.Check.
func (c check) Filter(n *cache.Node) *plugins.Rejection {
	if overlap(c, n.Ports) {
		return taken
	}
	return nil
}

func overlap(a, b []cache.Port) bool {
	for _, p := range a {
		for _, q := range b {
			if p.Overlaps(q) {
				return true
			}
		}
	}
	return false
}

// WakesOn implements plugins.Waker.
func (Rule) WakesOn() plugins.Kind { return plugins.NodeAdded | plugins.PodRemoved }

// Wakes implements plugins.Waker.
func (Rule) Wakes(p *cache.Pod, e *plugins.Event) bool {
	return e.Kind == plugins.NodeAdded || overlap(p.Ports, e.Pod.Ports)
}
