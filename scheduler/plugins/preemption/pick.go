package preemption

import (
	"cmp"
	"math"
	"slices"
)

// Pick chooses the candidate that loses least, by these criteria in turn:
// fewest budgets broken, lowest priority of the most important victim, lowest
// sum of priorities, fewest victims, youngest most important victim.
func Pick(candidates []*Candidate) *Candidate {
	if len(candidates) == 0 {
		return nil
	}
	return slices.MinFunc(candidates, compare)
}

func compare(a, b *Candidate) int {
	if len(a.Victims) == 0 || len(b.Victims) == 0 { // somebody left meanwhile: nothing is lost
		return cmp.Compare(len(a.Victims), len(b.Victims))
	}
	return cmp.Or(
		cmp.Compare(a.Violations, b.Violations),
		cmp.Compare(a.Victims[0].Priority, b.Victims[0].Priority),
		cmp.Compare(a.prioritySum(), b.prioritySum()),
		cmp.Compare(len(a.Victims), len(b.Victims)),
		// The victim of highest priority that started first is compared; the
		// later it started, the less is lost.
		compareStart(b.Victims[0], a.Victims[0]),
	)
}

// prioritySum shifts priorities to be positive, so that fewer pods of negative
// priority count less than more of them.
func (c *Candidate) prioritySum() int64 {
	var sum int64
	for _, v := range c.Victims {
		sum += int64(v.Priority) + math.MaxInt32 + 1
	}
	return sum
}

// Sample says how many of n nodes are tried: a tenth, at least 100
// (kube-scheduler's defaults).
func Sample(n int) int {
	return min(n, max(n/10, 100))
}
