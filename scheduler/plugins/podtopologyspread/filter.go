package podtopologyspread

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

var (
	skewed     = plugins.Reject(Name, plugins.Unschedulable, "node(s) didn't match pod topology spread constraints")
	missingKey = plugins.Reject(Name, plugins.Unresolvable,
		"node(s) didn't match pod topology spread constraints (missing required label)")
)

// check counts, for each hard constraint, the matching pods of each domain.
type check struct {
	pod         *cache.Pod
	in          inclusion
	constraints []constraint
	counts      []count
}

// count is a tally with the changes of pods that are tried out. least is the
// emptiest domain's number, worked out when it changes and not for each node.
type count struct {
	tally *cache.Tally
	delta map[string]int64
	least int64
	self  int64 // 1 when the pod counts itself
}

// PreFilter implements plugins.Filter.
func (r *Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	hard, err := constraints(t.Pod, corev1.DoNotSchedule)
	if err != nil {
		return nil, plugins.Reject(Name, plugins.Failed, fmt.Sprintf("topology spread constraint: %v", err))
	}
	if len(hard) == 0 {
		return nil, nil
	}
	c := &check{pod: t.Pod, in: newInclusion(t.Pod), constraints: hard, counts: make([]count, len(hard))}
	for i := range hard {
		c.counts[i].tally = tally(t, &c.in, hard, i, true)
		if hard[i].selector.Matches(labels.Set(t.Pod.Labels)) {
			c.counts[i].self = 1
		}
		c.findLeast(i)
	}
	return c, nil
}

func (c *check) findLeast(i int) {
	of := &c.counts[i]
	of.least = 0
	// While there are too few domains, the missing ones count as empty.
	if int64(of.tally.Domains()) >= c.constraints[i].minDomains {
		of.least = of.tally.Least(of.delta)
	}
}

// Filter implements plugins.Check.
func (c *check) Filter(n *cache.Node) *plugins.Rejection {
	for i := range c.constraints {
		con, of := &c.constraints[i], &c.counts[i]
		value, ok := n.Labels[con.key]
		if !ok {
			return missingKey
		}
		// A node that does not count by the constraint's policies may still be
		// in a domain that does.
		pods := of.tally.Total(value) + of.delta[value]
		if pods+of.self-of.least > con.maxSkew {
			return skewed
		}
	}
	return nil
}

// Clone implements plugins.PodCheck.
func (c *check) Clone() plugins.PodCheck {
	d := *c
	d.counts = append([]count(nil), c.counts...)
	for i := range d.counts {
		d.counts[i].delta = maps.Clone(c.counts[i].delta)
	}
	return &d
}

// Count implements plugins.PodCheck.
func (c *check) Count(p *cache.Pod, n *cache.Node, sign int) {
	if !hasKeys(n, c.constraints) {
		return
	}
	for i := range c.constraints {
		con, of := &c.constraints[i], &c.counts[i]
		if !con.about(c.pod.Namespace, p) || !c.in.counts(con, n) {
			continue
		}
		if of.delta == nil {
			of.delta = map[string]int64{}
		}
		of.delta[n.Labels[con.key]] += int64(sign)
		c.findLeast(i)
	}
}

// WakesOn implements plugins.Waker.
func (*Rule) WakesOn() plugins.Kind {
	return plugins.NodeAdded | plugins.NodeLabels | plugins.NodeTaints |
		plugins.PodPlaced | plugins.PodRelabeled | plugins.PodRemoved
}

// Wakes implements plugins.Waker.
func (*Rule) Wakes(p *cache.Pod, e *plugins.Event) bool {
	if e.Pod == nil {
		return true // domains may have come or gone
	}
	if e.Pod.Namespace != p.Namespace {
		return false
	}
	hard, err := constraints(p, corev1.DoNotSchedule)
	if err != nil {
		return false
	}
	for i := range hard {
		if hard[i].selector.Matches(labels.Set(e.Pod.Labels)) ||
			e.OldPod != nil && hard[i].selector.Matches(labels.Set(e.OldPod.Labels)) {
			return true
		}
	}
	return false
}
