package interpodaffinity

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "InterPodAffinity"

var (
	noAffinity   = plugins.Reject(Name, plugins.Unresolvable, "node(s) didn't match pod affinity rules")
	antiAffinity = plugins.Reject(Name, plugins.Unschedulable, "node(s) didn't match pod anti-affinity rules")
	existing     = plugins.Reject(Name, plugins.Unschedulable, "node(s) didn't satisfy existing pods anti-affinity rules")
)

// Rule implements plugins.Filter and plugins.Score.
type Rule struct {
	// Namespace gives the labels of a namespace.
	Namespace func(name string) labels.Set
}

// Name implements plugins.Filter.
func (*Rule) Name() string { return Name }

// domain is one value of one topology key: "the zone a".
type domain struct{ key, value string }

// counts are how many pods in each domain match.
type counts map[domain]int64

// check counts, once for the pod, what its nodes are then judged by.
type check struct {
	rule *Rule
	pod  *cache.Pod
	// mine and against count the pods that match the pod's affinity terms (all
	// of them) and its anti-affinity terms (each). theirs counts the pods
	// whose anti-affinity matches the pod.
	mine, against, theirs counts
}

// PreFilter implements plugins.Filter.
func (r *Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	c := &check{rule: r, pod: t.Pod, mine: counts{}, against: counts{}, theirs: counts{}}
	for _, n := range t.Snapshot.WithAntiAffinity {
		for _, p := range n.WithAntiAffinity {
			c.countTheirs(p, n, 1)
		}
	}
	if len(t.Pod.Affinity)+len(t.Pod.AntiAffinity) == 0 {
		if len(c.theirs) == 0 {
			return nil, nil
		}
		return c, nil
	}
	for _, n := range t.Snapshot.Nodes {
		for _, p := range n.Pods {
			c.countMine(p, n, 1)
		}
	}
	return c, nil
}

// Count implements plugins.PodCheck.
func (c *check) Count(p *cache.Pod, n *cache.Node, sign int) {
	c.countTheirs(p, n, int64(sign))
	c.countMine(p, n, int64(sign))
}

// Clone implements plugins.PodCheck.
func (c *check) Clone() plugins.PodCheck {
	return &check{rule: c.rule, pod: c.pod, mine: maps.Clone(c.mine), against: maps.Clone(c.against), theirs: maps.Clone(c.theirs)}
}

func (c *check) countTheirs(p *cache.Pod, n *cache.Node, by int64) {
	for i := range p.AntiAffinity {
		if term := &p.AntiAffinity[i]; term.Matches(c.pod.Pod, c.rule.Namespace) {
			c.theirs.add(n, term.TopologyKey, by)
		}
	}
}

func (c *check) countMine(p *cache.Pod, n *cache.Node, by int64) {
	if c.matchesAll(p.Pod) {
		for i := range c.pod.Affinity {
			c.mine.add(n, c.pod.Affinity[i].TopologyKey, by)
		}
	}
	for i := range c.pod.AntiAffinity {
		if term := &c.pod.AntiAffinity[i]; term.Matches(p.Pod, c.rule.Namespace) {
			c.against.add(n, term.TopologyKey, by)
		}
	}
}

// matchesAll tells whether a pod is one that the pod wants to be near to.
func (c *check) matchesAll(p *corev1.Pod) bool {
	for i := range c.pod.Affinity {
		if !c.pod.Affinity[i].Matches(p, c.rule.Namespace) {
			return false
		}
	}
	return len(c.pod.Affinity) > 0
}

func (c counts) add(n *cache.Node, key string, by int64) {
	value, ok := n.Labels[key]
	if !ok {
		return
	}
	d := domain{key, value}
	c[d] += by
	if c[d] == 0 {
		delete(c, d)
	}
}

// Filter implements plugins.Check.
func (c *check) Filter(n *cache.Node) *plugins.Rejection {
	if !c.affinitySatisfied(n) {
		return noAffinity
	}
	if len(c.against) > 0 {
		for i := range c.pod.AntiAffinity {
			key := c.pod.AntiAffinity[i].TopologyKey
			if value, ok := n.Labels[key]; ok && c.against[domain{key, value}] > 0 {
				return antiAffinity
			}
		}
	}
	if len(c.theirs) > 0 {
		for key, value := range n.Labels {
			if c.theirs[domain{key, value}] > 0 {
				return existing
			}
		}
	}
	return nil
}

func (c *check) affinitySatisfied(n *cache.Node) bool {
	near := true
	for i := range c.pod.Affinity {
		key := c.pod.Affinity[i].TopologyKey
		value, ok := n.Labels[key]
		if !ok {
			return false // such a node is in no domain at all
		}
		near = near && c.mine[domain{key, value}] > 0
	}
	// The first pod of a group that wants to be together has nobody to be
	// near to but itself.
	return near || len(c.mine) == 0 && c.matchesAll(c.pod.Pod)
}

// WakesOn implements plugins.Waker.
func (*Rule) WakesOn() plugins.Kind {
	return plugins.NodeAdded | plugins.NodeLabels | plugins.PodPlaced | plugins.PodRelabeled |
		plugins.PodRemoved | plugins.NamespaceLabels
}

// Wakes implements plugins.Waker.
func (r *Rule) Wakes(p *cache.Pod, e *plugins.Event) bool {
	c := check{rule: r, pod: p}
	switch e.Kind {
	case plugins.PodPlaced:
		return c.matchesAll(e.Pod.Pod)
	case plugins.PodRelabeled:
		return c.matchesAll(e.Pod.Pod) || r.anyMatches(p.AntiAffinity, e.OldPod.Pod)
	case plugins.PodRemoved:
		return r.anyMatches(p.AntiAffinity, e.Pod.Pod) || r.anyMatches(e.Pod.AntiAffinity, p.Pod)
	}
	return true
}

func (r *Rule) anyMatches(terms []cache.Term, p *corev1.Pod) bool {
	for i := range terms {
		if terms[i].Matches(p, r.Namespace) {
			return true
		}
	}
	return false
}
