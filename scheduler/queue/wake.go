package queue

import (
	"maps"
	"slices"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// mask is the set of wakers with these names.
func (q *Queue) mask(rules []string) (m uint64) {
	for i, w := range q.wakers {
		if slices.Contains(rules, w.Name()) {
			m |= 1 << i
		}
	}
	return m
}

// interested is the set of wakers that must be asked about a kind of event.
func (q *Queue) interested(kind plugins.Kind) (m uint64) {
	for i, w := range q.wakers {
		if w.WakesOn()&kind != 0 {
			m |= 1 << i
		}
	}
	return m
}

// wakes tells whether any rule that rejected the item now thinks otherwise.
func (q *Queue) wakes(item *Item, e *plugins.Event, interested uint64) bool {
	for i, w := range q.wakers {
		if item.rejectors&interested&(1<<i) != 0 && w.Wakes(item.Pod, e) {
			return true
		}
	}
	return false
}

func (q *Queue) countRejectors(item *Item, sign int) {
	for i := range q.wakers {
		if item.rejectors&(1<<i) != 0 {
			q.rejected[i] += sign
		}
	}
}

func (q *Queue) anyRejectedBy(set uint64) bool {
	for i := range q.wakers {
		if set&(1<<i) != 0 && q.rejected[i] > 0 {
			return true
		}
	}
	return false
}

// mayHelp tells whether a pod changed in a way that may make it schedulable.
// Changes of its status, which the scheduler itself writes, do not.
func mayHelp(old, p *cache.Pod) bool {
	return len(old.Spec.SchedulingGates) != len(p.Spec.SchedulingGates) ||
		!maps.Equal(old.Labels, p.Labels) ||
		len(old.Spec.Tolerations) != len(p.Spec.Tolerations) ||
		!maps.Equal(old.Spec.NodeSelector, p.Spec.NodeSelector) ||
		old.Generation != p.Generation ||
		!equalRequests(&old.Requests, &p.Requests)
}

func equalRequests(a, b *cache.Resources) bool {
	return a.MilliCPU == b.MilliCPU && a.Memory == b.Memory && a.EphemeralStorage == b.EphemeralStorage &&
		slices.Equal(a.Scalars, b.Scalars)
}
