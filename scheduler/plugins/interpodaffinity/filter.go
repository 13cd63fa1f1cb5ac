package interpodaffinity

import (
	"maps"
	"strings"

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

// check holds what the pod's nodes are judged by.
type check struct {
	rule *Rule
	pod  *cache.Pod
	// mine and against count, for each of the pod's affinity and anti-affinity
	// terms, the pods in each domain: those that match all affinity terms, and
	// those that match the one anti-affinity term.
	mine, against []count
	// theirs are the anti-affinity terms of other pods that match the pod, by
	// the term's key.
	theirs map[string]theirs
	// near is how many pods there are that match all affinity terms.
	near int64
}

// count is a tally with the changes of pods that are tried out.
type count struct {
	tally *cache.Tally
	delta map[string]int64
}

type theirs struct {
	topologyKey string
	domains     map[string]int64
	delta       map[string]int64
}

// PreFilter implements plugins.Filter.
func (r *Rule) PreFilter(t *plugins.Turn) (plugins.Check, *plugins.Rejection) {
	p := t.Pod
	c := &check{rule: r, pod: p}
	if len(t.Snapshot.WithAntiAffinity) > 0 {
		c.findTheirs(t.Snapshot)
	}
	if len(p.Affinity)+len(p.AntiAffinity) == 0 {
		if len(c.theirs) == 0 {
			return nil, nil
		}
		return c, nil
	}
	key := affinityKey(p)
	for i := range p.Affinity {
		of := t.Snapshot.Tally(cache.TallySpec{
			Key: join("affinity", key, p.Affinity[i].TopologyKey), Domain: p.Affinity[i].TopologyKey,
			Pod: func(q *cache.Pod) bool { return c.matchesAll(q.Pod) },
		})
		c.near += of.Pods()
		c.mine = append(c.mine, count{tally: of})
	}
	for i := range p.AntiAffinity {
		term := &p.AntiAffinity[i]
		key := join("anti", term.Key)
		if !lasting(term) {
			key = ""
		}
		c.against = append(c.against, count{tally: t.Snapshot.Tally(cache.TallySpec{
			Key: key, Domain: term.TopologyKey,
			Pod: func(q *cache.Pod) bool { return term.Matches(q.Pod, r.Namespace) },
		})})
	}
	return c, nil
}

func (c *check) findTheirs(s *cache.Snapshot) {
	for key, at := range s.AntiTerms() {
		if at.Term.Matches(c.pod.Pod, c.rule.Namespace) {
			if c.theirs == nil {
				c.theirs = map[string]theirs{}
			}
			c.theirs[key] = theirs{topologyKey: at.Term.TopologyKey, domains: at.Domains}
		}
	}
}

// lasting tells whether what a term matches depends on pods alone; labels of
// namespaces may change.
func lasting(t *cache.Term) bool { return t.NamespaceSelector == nil || t.NamespaceSelector.Empty() }

// affinityKey names what matches all of the pod's affinity terms; empty when
// it cannot be kept.
func affinityKey(p *cache.Pod) string {
	keys := make([]string, 0, len(p.Affinity))
	for i := range p.Affinity {
		if !lasting(&p.Affinity[i]) {
			return ""
		}
		keys = append(keys, p.Affinity[i].Key)
	}
	return strings.Join(keys, "\x01")
}

// join makes a tally's key of parts, empty when any is.
func join(parts ...string) string {
	for _, p := range parts {
		if p == "" {
			return ""
		}
	}
	return strings.Join(parts, "\x02")
}

// Count implements plugins.PodCheck.
func (c *check) Count(p *cache.Pod, n *cache.Node, sign int) {
	for i := range p.AntiAffinity {
		term := &p.AntiAffinity[i]
		domain, ok := n.Labels[term.TopologyKey]
		if !ok || !term.Matches(c.pod.Pod, c.rule.Namespace) {
			continue
		}
		at := c.theirs[term.Key]
		at.topologyKey = term.TopologyKey
		add(&at.delta, domain, sign)
		if c.theirs == nil {
			c.theirs = map[string]theirs{}
		}
		c.theirs[term.Key] = at
	}
	if c.matchesAll(p.Pod) {
		for i := range c.mine {
			if domain, ok := n.Labels[c.pod.Affinity[i].TopologyKey]; ok {
				add(&c.mine[i].delta, domain, sign)
				c.near += int64(sign)
			}
		}
	}
	for i := range c.against {
		term := &c.pod.AntiAffinity[i]
		if domain, ok := n.Labels[term.TopologyKey]; ok && term.Matches(p.Pod, c.rule.Namespace) {
			add(&c.against[i].delta, domain, sign)
		}
	}
}

func add(delta *map[string]int64, domain string, sign int) {
	if *delta == nil {
		*delta = map[string]int64{}
	}
	(*delta)[domain] += int64(sign)
}

// Clone implements plugins.PodCheck.
func (c *check) Clone() plugins.PodCheck {
	d := *c
	d.mine, d.against = cloneCounts(c.mine), cloneCounts(c.against)
	d.theirs = maps.Clone(c.theirs)
	for key, at := range d.theirs {
		at.delta = maps.Clone(at.delta)
		d.theirs[key] = at
	}
	return &d
}

func cloneCounts(in []count) []count {
	out := make([]count, len(in))
	for i, c := range in {
		out[i] = count{tally: c.tally, delta: maps.Clone(c.delta)}
	}
	return out
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

// at gives the pods in the node's domain; ok is false when it is in none.
func (c *count) at(n *cache.Node) (pods int64, ok bool) {
	domain, _ := c.tally.At(n)
	if domain == nil {
		return 0, false
	}
	return domain.Pods + c.delta[domain.Name], true
}

// Filter implements plugins.Check.
func (c *check) Filter(n *cache.Node) *plugins.Rejection {
	if !c.affinitySatisfied(n) {
		return noAffinity
	}
	for i := range c.against {
		if pods, _ := c.against[i].at(n); pods > 0 {
			return antiAffinity
		}
	}
	for _, at := range c.theirs {
		if domain, ok := n.Labels[at.topologyKey]; ok && at.domains[domain]+at.delta[domain] > 0 {
			return existing
		}
	}
	return nil
}

func (c *check) affinitySatisfied(n *cache.Node) bool {
	near := true
	for i := range c.mine {
		pods, ok := c.mine[i].at(n)
		if !ok {
			return false // such a node is in no domain at all
		}
		near = near && pods > 0
	}
	// The first pod of a group that wants to be together has nobody to be
	// near to but itself.
	return near || c.near == 0 && c.matchesAll(c.pod.Pod)
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
