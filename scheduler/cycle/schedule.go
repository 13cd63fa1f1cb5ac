package cycle

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Cycle schedules one pod after the other; it belongs to one goroutine.
type Cycle struct {
	Cache *cache.Cache
	Rules Rules
	// Nominated gives the pods that were promised room on a node, nil for none.
	Nominated func(node string) []*cache.Pod
	// PercentageOfNodesToScore bounds how many fitting nodes are looked for; 0
	// means a share that falls with the size of the cluster.
	PercentageOfNodesToScore int
	// Parallelism is how many goroutines look at nodes, at least 1.
	Parallelism int

	snapshot cache.Snapshot
	start    int // where the next sample begins

	// Memory that is used again by each cycle, so that a cycle over thousands
	// of nodes allocates nothing for each.
	rejections []*plugins.Rejection
	feasible   []*cache.Node
	totals     []int64
	scores     []int64
}

// Result is where a pod goes.
type Result struct {
	Node      string
	Evaluated int // nodes looked at
	Feasible  int // nodes found to fit
}

// Schedule finds the best node for the pod. The error is an *Unfit when the
// pod fits nowhere, or ErrNoNodes.
func (c *Cycle) Schedule(p *cache.Pod) (Result, error) {
	c.Cache.Update(&c.snapshot)
	t := &plugins.Turn{Pod: p, Snapshot: &c.snapshot}
	if len(t.Snapshot.Nodes) == 0 {
		return Result{}, ErrNoNodes
	}
	checks, rejection := c.preFilter(t)
	if rejection != nil {
		return Result{}, c.rejectAll(rejection)
	}
	if n := t.Snapshot.Node(p.Status.NominatedNodeName); n != nil && c.filter(p, n, checks) == nil {
		return Result{Node: n.Name, Evaluated: 1, Feasible: 1}, nil
	}
	nodes, absent := candidates(t, checks)
	evaluated, err := c.filterAll(p, nodes, checks)
	if err != nil {
		return Result{}, err
	}
	if len(c.feasible) == 0 {
		return Result{}, c.unfit(t, nodes, absent)
	}
	return Result{Node: c.best(t).Name, Evaluated: evaluated, Feasible: len(c.feasible)}, nil
}

// check is a rule's check of the pod, with the rule's name.
type check struct {
	plugins.Check
	rule string
}

func (c *Cycle) preFilter(t *plugins.Turn) ([]check, *plugins.Rejection) {
	checks := make([]check, 0, len(c.Rules.Filters))
	for _, f := range c.Rules.Filters {
		one, rejection := f.PreFilter(t)
		if rejection != nil {
			return nil, rejection
		}
		if one != nil {
			checks = append(checks, check{one, f.Name()})
		}
	}
	return checks, nil
}

func (c *Cycle) rejectAll(r *plugins.Rejection) error {
	if r.Code == plugins.Failed {
		return fmt.Errorf("running PreFilter plugin %q: %w", r.Rule, errors.New(r.Reasons[0]))
	}
	return &Unfit{Nodes: len(c.snapshot.Nodes), PreFilter: r, Rules: []string{r.Rule}}
}

// candidates are the nodes to look at: all, or those that the pod names. The
// rejection is that of the others.
func candidates(t *plugins.Turn, checks []check) ([]*cache.Node, *plugins.Rejection) {
	for _, ch := range checks {
		narrow, ok := ch.Check.(plugins.Narrow)
		if !ok {
			continue
		}
		var nodes []*cache.Node
		for _, name := range narrow.NodeNames() {
			if n := t.Snapshot.Node(name); n != nil {
				nodes = append(nodes, n)
			}
		}
		return nodes, plugins.Reject(ch.rule, plugins.Unresolvable, fmt.Sprintf("node(s) didn't satisfy plugin(s) %v", []string{ch.rule}))
	}
	return t.Snapshot.Nodes, nil
}

// serial is how many nodes are looked at before others help: less than this
// takes less time than to start them.
const serial = 1024

// chunk is how many nodes a goroutine takes at a time.
const chunk = 128

// filterAll fills c.feasible with as many fitting nodes as are wanted and
// c.rejections, in the order of nodes, with the reasons of the others. It goes
// on from where the last pod's sample ended, so that all nodes get their turn.
func (c *Cycle) filterAll(p *cache.Pod, nodes []*cache.Node, checks []check) (int, error) {
	c.feasible = c.feasible[:0]
	c.rejections = append(c.rejections[:0], make([]*plugins.Rejection, len(nodes))...)
	if len(nodes) == 0 {
		return 0, nil
	}
	want := NodesToFind(len(nodes), c.PercentageOfNodesToScore)
	at := func(i int) int { return (c.start + i) % len(nodes) }
	i := 0
	for ; i < len(nodes) && len(c.feasible) < want && (i < serial || c.Parallelism < 2); i++ {
		n := nodes[at(i)]
		if r := c.filter(p, n, checks); r != nil {
			c.rejections[at(i)] = r
		} else {
			c.feasible = append(c.feasible, n)
		}
	}
	if i < len(nodes) && len(c.feasible) < want {
		i = c.filterParallel(p, nodes, checks, i, want)
	}
	c.start = at(i)
	for _, r := range c.rejections {
		if r != nil && r.Code == plugins.Failed {
			return i, fmt.Errorf("running %q filter plugin: %w", r.Rule, errors.New(r.Reasons[0]))
		}
	}
	return i, nil
}

func (c *Cycle) filterParallel(p *cache.Pod, nodes []*cache.Node, checks []check, from, want int) int {
	var next, found atomic.Int64
	next.Store(int64(from))
	found.Store(int64(len(c.feasible)))
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range c.Parallelism {
		wg.Go(func() {
			for found.Load() < int64(want) {
				end := int(next.Add(chunk))
				first := end - chunk
				if first >= len(nodes) {
					return
				}
				var fits []*cache.Node
				for i := first; i < min(end, len(nodes)); i++ {
					j := (c.start + i) % len(nodes)
					if r := c.filter(p, nodes[j], checks); r != nil {
						c.rejections[j] = r
					} else {
						fits = append(fits, nodes[j])
					}
				}
				if len(fits) > 0 {
					found.Add(int64(len(fits)))
					mu.Lock()
					c.feasible = append(c.feasible, fits...)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return min(int(next.Load()), len(nodes))
}

// filter gives the first rejection of a node, nil when the pod fits. Room that
// was promised to pods of the same or higher priority counts as taken; and the
// pod must fit without them too, since they may never come.
func (c *Cycle) filter(p *cache.Pod, n *cache.Node, checks []check) *plugins.Rejection {
	if c.Nominated != nil {
		if promised := c.Nominated(n.Name); len(promised) > 0 {
			trial := newTrial(n, checks)
			counted := false
			for _, q := range promised {
				if q.UID != p.UID && q.Priority >= p.Priority {
					trial.Add(q)
					counted = true
				}
			}
			if counted {
				if r := trial.run(); r != nil {
					return r
				}
			}
		}
	}
	return run(n, checks)
}

func run(n *cache.Node, checks []check) *plugins.Rejection {
	for i := range checks {
		if r := checks[i].Filter(n); r != nil {
			return r
		}
	}
	return nil
}

func (c *Cycle) unfit(t *plugins.Turn, nodes []*cache.Node, absent *plugins.Rejection) *Unfit {
	u := &Unfit{Nodes: len(t.Snapshot.Nodes), Reasons: map[string]int{}}
	for i, r := range c.rejections {
		if r != nil {
			u.reject(nodes[i], r)
		}
	}
	if others := u.Nodes - len(nodes); others > 0 && absent != nil {
		u.Reasons[absent.Reasons[0]] += others
		u.blame(absent.Rule)
	}
	return u
}

// NodesToFind says how many fitting nodes are enough: all of a small cluster;
// of a larger one a share that falls from 50 % by 1 % for each 125 nodes, but
// not below 5 % nor 100 nodes (kube-scheduler's rule).
func NodesToFind(nodes, percentage int) int {
	const least = 100
	if nodes < least {
		return nodes
	}
	if percentage <= 0 {
		percentage = max(50-nodes/125, 5)
	}
	if percentage >= 100 {
		return nodes
	}
	return max(nodes*percentage/100, least)
}

// best scores the feasible nodes and picks one of the best by chance.
func (c *Cycle) best(t *plugins.Turn) *cache.Node {
	nodes := c.feasible
	if len(nodes) == 1 {
		return nodes[0]
	}
	c.score(t, nodes)
	best, ties := 0, 1
	for i := 1; i < len(nodes); i++ {
		switch {
		case c.totals[i] > c.totals[best]:
			best, ties = i, 1
		case c.totals[i] == c.totals[best]:
			ties++
			if rand.IntN(ties) == 0 {
				best = i
			}
		}
	}
	return nodes[best]
}

// score fills c.totals.
func (c *Cycle) score(t *plugins.Turn, nodes []*cache.Node) {
	c.totals = append(c.totals[:0], make([]int64, len(nodes))...)
	c.scores = append(c.scores[:0], make([]int64, len(nodes))...)
	for _, rule := range c.Rules.Scores {
		s := rule.PreScore(t, nodes)
		if s == nil {
			continue
		}
		for i, n := range nodes {
			c.scores[i] = s.Score(n)
		}
		if norm, ok := s.(plugins.Normalizer); ok {
			norm.Normalize(nodes, c.scores)
		}
		for i, v := range c.scores {
			c.totals[i] += v * rule.Weight
		}
	}
}
