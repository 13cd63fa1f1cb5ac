package podtopologyspread

import (
	"fmt"
	"maps"
	"math"

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
	counts      []map[string]int64
	// least is the smallest of counts, worked out when they change and not for
	// every node.
	least []int64
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
	c := &check{pod: t.Pod, in: newInclusion(t.Pod), constraints: hard, least: make([]int64, len(hard))}
	for range hard {
		c.counts = append(c.counts, map[string]int64{})
	}
	for _, n := range t.Snapshot.Nodes {
		if !hasKeys(n, hard) {
			continue
		}
		for i := range hard {
			if con := &hard[i]; c.in.counts(con, n) {
				c.counts[i][n.Labels[con.key]] += matching(n, t.Pod.Namespace, con.selector)
			}
		}
	}
	c.findLeast()
	return c, nil
}

func (c *check) findLeast() {
	for i := range c.constraints {
		c.least[i] = 0
		if int64(len(c.counts[i])) < c.constraints[i].minDomains {
			continue // the missing domains count as empty
		}
		least := int64(math.MaxInt64)
		for _, n := range c.counts[i] {
			least = min(least, n)
		}
		if least < math.MaxInt64 {
			c.least[i] = least
		}
	}
}

// Filter implements plugins.Check.
func (c *check) Filter(n *cache.Node) *plugins.Rejection {
	for i := range c.constraints {
		con := &c.constraints[i]
		value, ok := n.Labels[con.key]
		if !ok {
			return missingKey
		}
		after := c.counts[i][value]
		if con.selector.Matches(labels.Set(c.pod.Labels)) {
			after++
		}
		if after-c.least[i] > con.maxSkew {
			return skewed
		}
	}
	return nil
}

// Clone implements plugins.PodCheck.
func (c *check) Clone() plugins.PodCheck {
	d := *c
	d.least = append([]int64(nil), c.least...)
	d.counts = make([]map[string]int64, len(c.counts))
	for i := range c.counts {
		d.counts[i] = maps.Clone(c.counts[i])
	}
	return &d
}

// Count implements plugins.PodCheck.
func (c *check) Count(p *cache.Pod, n *cache.Node, sign int) {
	if p.Namespace != c.pod.Namespace || p.DeletionTimestamp != nil || !hasKeys(n, c.constraints) {
		return
	}
	for i := range c.constraints {
		con := &c.constraints[i]
		if con.selector.Matches(labels.Set(p.Labels)) && c.in.counts(con, n) {
			c.counts[i][n.Labels[con.key]] += int64(sign)
		}
	}
	c.findLeast()
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
