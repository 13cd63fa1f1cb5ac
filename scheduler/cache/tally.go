package cache

import (
	"math"
	"slices"
)

// TallySpec says what a Tally counts.
type TallySpec struct {
	// Key names the tally: two specs with one key count the same. Without a
	// key the tally is made for one cycle and not kept.
	Key string
	// Domain is the node label whose values are the domains. Nodes without it
	// do not count.
	Domain string
	// Node tells whether a node counts; nil means all. With a Key it may only
	// depend on the node itself.
	Node func(*Node) bool
	// Pod tells whether a pod counts.
	Pod func(*Pod) bool
}

// Tally is how many pods of a kind there are on each node and in each domain.
// The snapshot keeps the tallies that were asked for last and, from one cycle
// to the next, only counts again the nodes that changed: the thousands of
// pods of one Deployment ask for the same.
type Tally struct {
	spec    TallySpec
	nodes   []tallied // by Node.Index
	domains map[string]*Domain
	totals  map[int64]int // number of domains by their number of pods
	pods    int64

	follower
	used uint64
}

type tallied struct {
	domain *Domain
	pods   int64
}

// Domain is one value of the label.
type Domain struct {
	Name  string
	Pods  int64
	nodes int
}

// At gives the domain of a node of the snapshot and the pods on the node; nil
// when the node does not count.
func (t *Tally) At(n *Node) (*Domain, int64) {
	at := &t.nodes[n.Index]
	return at.domain, at.pods
}

// Total is the number of pods in a domain, 0 when there is no such domain.
func (t *Tally) Total(domain string) int64 {
	if d := t.domains[domain]; d != nil {
		return d.Pods
	}
	return 0
}

// Pods is the number of pods in all domains.
func (t *Tally) Pods() int64 { return t.pods }

// Domains is the number of domains, empty ones included.
func (t *Tally) Domains() int { return len(t.domains) }

// Least is the number of pods of the emptiest domain, with some domains'
// numbers changed by delta; 0 without domains.
func (t *Tally) Least(delta map[string]int64) int64 {
	totals := t.totals
	if len(delta) > 0 {
		totals = map[int64]int{}
		for n, of := range t.totals {
			totals[n] = of
		}
		for name, by := range delta {
			if d := t.domains[name]; d != nil {
				totals[d.Pods]--
				totals[d.Pods+by]++
			}
		}
	}
	least := int64(math.MaxInt64)
	for n, of := range totals {
		if of > 0 {
			least = min(least, n)
		}
	}
	if least == math.MaxInt64 {
		return 0
	}
	return least
}

// maxTallies is how many tallies are kept, each of 16 bytes for a node.
const maxTallies = 32

// Tally gives the count for a spec, up to date.
func (s *Snapshot) Tally(spec TallySpec) *Tally {
	t := s.tallies[spec.Key]
	if spec.Key == "" || t == nil {
		t = &Tally{spec: spec}
		if spec.Key != "" {
			s.keep(t)
		}
	}
	s.uses++
	t.used = s.uses
	s.follow(&t.follower, t.reset, t.count)
	return t
}

func (s *Snapshot) keep(t *Tally) {
	if s.tallies == nil {
		s.tallies = map[string]*Tally{}
	}
	if len(s.tallies) >= maxTallies {
		var oldest *Tally
		for _, other := range s.tallies {
			if oldest == nil || other.used < oldest.used {
				oldest = other
			}
		}
		delete(s.tallies, oldest.spec.Key)
	}
	s.tallies[t.spec.Key] = t
}

func (t *Tally) reset(nodes int) {
	t.nodes = append(t.nodes[:0], make([]tallied, nodes)...)
	t.domains, t.totals, t.pods = map[string]*Domain{}, map[int64]int{}, 0
}

// count counts one node again.
func (t *Tally) count(n *Node) {
	at := &t.nodes[n.Index]
	if at.domain != nil {
		t.add(at.domain, -1, -at.pods)
	}
	*at = tallied{}
	name, ok := n.Labels[t.spec.Domain]
	if !ok || t.spec.Node != nil && !t.spec.Node(n) {
		return
	}
	for _, p := range n.Pods {
		if t.spec.Pod(p) {
			at.pods++
		}
	}
	at.domain = t.domains[name]
	if at.domain == nil {
		at.domain = &Domain{Name: name}
		t.domains[name] = at.domain
		t.totals[0]++
	}
	t.add(at.domain, 1, at.pods)
}

func (t *Tally) add(d *Domain, nodes int, pods int64) {
	t.pods += pods
	d.nodes += nodes
	t.move(d.Pods, -1)
	d.Pods += pods
	if d.nodes == 0 {
		delete(t.domains, d.Name)
		return
	}
	t.move(d.Pods, 1)
}

func (t *Tally) move(pods int64, by int) {
	if t.totals[pods] += by; t.totals[pods] == 0 {
		delete(t.totals, pods)
	}
}

// AntiTerm is a required anti-affinity term that pods on nodes have, with the
// number of such pods in each domain of its topology key.
type AntiTerm struct {
	Term    *Term
	Domains map[string]int64
}

// antiTerms keeps the AntiTerms of the snapshot.
type antiTerms struct {
	terms map[string]*AntiTerm
	nodes [][]antiCount // what each node contributes
	follower
}

type antiCount struct{ term, domain string }

// AntiTerms gives the anti-affinity terms of the pods on nodes. The pods of
// one Deployment share theirs, so that there are few.
func (s *Snapshot) AntiTerms() map[string]*AntiTerm {
	s.follow(&s.anti.follower, s.anti.reset, s.anti.count)
	return s.anti.terms
}

func (a *antiTerms) reset(nodes int) {
	a.terms = map[string]*AntiTerm{}
	a.nodes = append(a.nodes[:0], make([][]antiCount, nodes)...)
}

func (a *antiTerms) count(n *Node) {
	for _, c := range a.nodes[n.Index] {
		at := a.terms[c.term]
		if at.Domains[c.domain]--; at.Domains[c.domain] == 0 {
			delete(at.Domains, c.domain)
		}
		if len(at.Domains) == 0 {
			delete(a.terms, c.term)
		}
	}
	counts := a.nodes[n.Index][:0]
	for _, p := range n.WithAntiAffinity {
		for i := range p.AntiAffinity {
			term := &p.AntiAffinity[i]
			domain, ok := n.Labels[term.TopologyKey]
			if !ok {
				continue
			}
			at := a.terms[term.Key]
			if at == nil {
				at = &AntiTerm{Term: term, Domains: map[string]int64{}}
				a.terms[term.Key] = at
			}
			at.Domains[domain]++
			counts = append(counts, antiCount{term.Key, domain})
		}
	}
	a.nodes[n.Index] = counts
}

// changes is a log of the places of nodes that Update changed, so that what is
// derived from a snapshot can be brought up to date by just these.
type changes struct {
	log  []int
	base uint64 // how many entries were dropped from the front
}

// maxChanges is where the log is cut: going through more is no better than
// starting again.
const maxChanges = 4096

func (c *changes) add(index int) {
	if len(c.log) >= maxChanges {
		half := len(c.log) / 2
		c.log = slices.Delete(c.log, 0, half)
		c.base += uint64(half)
	}
	c.log = append(c.log, index)
}

func (c *changes) end() uint64 { return c.base + uint64(len(c.log)) }

// follower is how far something derived has followed the snapshot.
type follower struct {
	order, seen uint64
	began       bool
}

// follow brings something derived up to date.
func (s *Snapshot) follow(f *follower, reset func(nodes int), count func(*Node)) {
	if !f.began || f.order != s.order || f.seen < s.changes.base {
		f.began, f.order = true, s.order
		reset(len(s.Nodes))
		for _, n := range s.Nodes {
			count(n)
		}
	} else {
		for _, i := range s.changes.log[f.seen-s.changes.base:] {
			count(s.Nodes[i])
		}
	}
	f.seen = s.changes.end()
}
