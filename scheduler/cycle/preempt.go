package cycle

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	policyv1 "k8s.io/api/policy/v1"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/plugins/preemption"
)

// Preempt looks for a node that the pod would fit on if pods of lower priority
// left. It belongs to the cycle that ended with u. Without a candidate it
// writes the reason to u.Preemption, and void tells whether an earlier
// nomination of the pod is to be given up.
func (c *Cycle) Preempt(p *cache.Pod, u *Unfit, budgets []*policyv1.PodDisruptionBudget) (found *preemption.Candidate, void bool) {
	t := &plugins.Turn{Pod: p, Snapshot: &c.snapshot}
	nominated := t.Snapshot.Node(p.Status.NominatedNodeName)
	if why := preemption.Ineligible(p, nominated, c.rejectionOf(u, nominated)); why != "" {
		u.Preemption = "preemption: " + why
		return nil, false
	}
	failed := &Unfit{Nodes: u.Nodes, Reasons: map[string]int{}}
	if len(u.removable) > 0 {
		checks, rejection := c.preFilter(t)
		if rejection == nil {
			found = c.dryRun(p, u.removable, checks, budgets, failed)
		}
	}
	if found != nil {
		return found, false
	}
	tried := len(failed.removable)
	failed.removable = nil
	if rest := u.Nodes - tried; rest > 0 {
		failed.Reasons[preemption.NotHelpful] += rest
	}
	u.Preemption = "preemption: " + failed.Error()
	return nil, true
}

// rejectionOf is why the cycle that just ended rejected a node.
func (c *Cycle) rejectionOf(u *Unfit, n *cache.Node) *plugins.Rejection {
	if n == nil || u.PreFilter != nil {
		return u.PreFilter
	}
	for _, m := range u.removable {
		if m == n {
			return nil
		}
	}
	return &plugins.Rejection{Code: plugins.Unresolvable}
}

// dryRun tries nodes from a random one on until enough candidates are found,
// and picks the best. Without any it counts the reasons in failed, and lists
// the nodes that were tried there.
func (c *Cycle) dryRun(p *cache.Pod, nodes []*cache.Node, checks []check, budgets []*policyv1.PodDisruptionBudget, failed *Unfit) *preemption.Candidate {
	offset := rand.IntN(len(nodes))
	enough := preemption.Sample(len(nodes))
	var next atomic.Int64
	var mu sync.Mutex
	var found []*preemption.Candidate
	work := func() {
		for {
			i := int(next.Add(1)) - 1
			if i >= len(nodes) {
				return
			}
			n := nodes[(offset+i)%len(nodes)]
			candidate, rejection := preemption.SelectVictims(p, n, c.newPromisedTrial(p, n, checks), budgets)
			mu.Lock()
			if candidate != nil {
				found = append(found, candidate)
			} else {
				failed.reject(n, &plugins.Rejection{Rule: rejection.Rule, Code: plugins.Unschedulable, Reasons: rejection.Reasons})
			}
			done := len(found) >= enough
			mu.Unlock()
			if done {
				return
			}
		}
	}
	var wg sync.WaitGroup
	for range min(c.Parallelism, (len(nodes)+15)/16) {
		wg.Go(work)
	}
	wg.Wait()
	return preemption.Pick(found)
}

// trial is a copy of a node and of the checks that pods can be tried on.
type trial struct {
	node   *cache.Node
	checks []check
	counts []plugins.PodCheck
}

func newTrial(n *cache.Node, checks []check) *trial {
	t := &trial{node: n.Clone(), checks: make([]check, len(checks))}
	for i, ch := range checks {
		if pc, ok := ch.Check.(plugins.PodCheck); ok {
			clone := pc.Clone()
			t.counts = append(t.counts, clone)
			ch.Check = clone
		}
		t.checks[i] = ch
	}
	return t
}

// Add puts a pod on the node.
func (t *trial) Add(p *cache.Pod) {
	t.node.AddPod(p)
	for _, c := range t.counts {
		c.Count(p, t.node, 1)
	}
}

// Remove takes a pod off the node.
func (t *trial) Remove(p *cache.Pod) {
	t.node.RemovePod(p)
	for _, c := range t.counts {
		c.Count(p, t.node, -1)
	}
}

func (t *trial) run() *plugins.Rejection { return run(t.node, t.checks) }

// promisedTrial is a trial in which pods nominated to the node have their room.
type promisedTrial struct {
	*trial
	promised []*cache.Pod
}

func (c *Cycle) newPromisedTrial(p *cache.Pod, n *cache.Node, checks []check) *promisedTrial {
	t := &promisedTrial{trial: newTrial(n, checks)}
	if c.Nominated == nil {
		return t
	}
	for _, q := range c.Nominated(n.Name) {
		if q.UID != p.UID && q.Priority >= p.Priority {
			t.promised = append(t.promised, q)
		}
	}
	return t
}

// Fits tells whether the pod fits, both with and without the promised pods.
func (t *promisedTrial) Fits() *plugins.Rejection {
	if len(t.promised) == 0 {
		return t.run()
	}
	for _, q := range t.promised {
		t.Add(q)
	}
	r := t.run()
	for _, q := range t.promised {
		t.Remove(q)
	}
	if r != nil {
		return r
	}
	return t.run()
}

var _ preemption.Trial = (*promisedTrial)(nil)
