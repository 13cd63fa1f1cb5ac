package cycle_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/cycle"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

// world is a cluster that is checked in the plainest way: by looking at every
// pod on every node.
type world struct {
	nodes []*corev1.Node
	pods  map[string][]*corev1.Pod // by node
}

// allows tells what speaks against a pod on a node; empty when nothing does.
func (w *world) allows(p *corev1.Pod, node *corev1.Node) string {
	cpu := p.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
	for _, q := range w.pods[node.Name] {
		cpu += q.Spec.Containers[0].Resources.Requests.Cpu().MilliValue()
		for _, a := range p.Spec.Containers[0].Ports {
			for _, b := range q.Spec.Containers[0].Ports {
				if a.HostPort == b.HostPort {
					return "port in use"
				}
			}
		}
	}
	if cpu > node.Status.Allocatable.Cpu().MilliValue() {
		return "too much cpu"
	}
	if int64(len(w.pods[node.Name])+1) > node.Status.Allocatable.Pods().Value() {
		return "too many pods"
	}
	for _, taint := range node.Spec.Taints {
		if len(p.Spec.Tolerations) == 0 && taint.Effect == corev1.TaintEffectNoSchedule {
			return "tainted"
		}
	}
	if ok, _ := nodeaffinity.GetRequiredNodeAffinity(p).Match(node); !ok {
		return "wrong node"
	}
	if w.conflict(p, node) || w.conflictOfOthers(p, node) {
		return "anti-affinity"
	}
	if !w.nearEnough(p, node) {
		return "affinity"
	}
	if w.skewed(p, node) {
		return "skewed"
	}
	return ""
}

// inDomain gives the pods on nodes that share a node's value of a label.
func (w *world) inDomain(node *corev1.Node, key string) (out []*corev1.Pod) {
	for _, n := range w.nodes {
		if v, ok := n.Labels[key]; ok && v == node.Labels[key] {
			out = append(out, w.pods[n.Name]...)
		}
	}
	return out
}

func matches(t *corev1.PodAffinityTerm, p *corev1.Pod) bool {
	s, _ := metav1.LabelSelectorAsSelector(t.LabelSelector)
	return s.Matches(labels.Set(p.Labels))
}

func antiTerms(p *corev1.Pod) []corev1.PodAffinityTerm {
	if a := p.Spec.Affinity; a != nil && a.PodAntiAffinity != nil {
		return a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

func (w *world) conflict(p *corev1.Pod, node *corev1.Node) bool {
	for _, t := range antiTerms(p) {
		if _, ok := node.Labels[t.TopologyKey]; !ok {
			continue
		}
		for _, q := range w.inDomain(node, t.TopologyKey) {
			if matches(&t, q) {
				return true
			}
		}
	}
	return false
}

func (w *world) conflictOfOthers(p *corev1.Pod, node *corev1.Node) bool {
	for _, n := range w.nodes {
		for _, q := range w.pods[n.Name] {
			for _, t := range antiTerms(q) {
				v, ok := n.Labels[t.TopologyKey]
				if u, has := node.Labels[t.TopologyKey]; ok && has && u == v && matches(&t, p) {
					return true
				}
			}
		}
	}
	return false
}

func (w *world) nearEnough(p *corev1.Pod, node *corev1.Node) bool {
	a := p.Spec.Affinity
	if a == nil || a.PodAffinity == nil {
		return true
	}
	for _, t := range a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		if _, ok := node.Labels[t.TopologyKey]; !ok {
			return false
		}
		near, anywhere := false, false
		for _, q := range w.inDomain(node, t.TopologyKey) {
			near = near || matches(&t, q)
		}
		for _, n := range w.nodes {
			if _, ok := n.Labels[t.TopologyKey]; !ok {
				continue
			}
			for _, q := range w.pods[n.Name] {
				anywhere = anywhere || matches(&t, q)
			}
		}
		if !near && (anywhere || !matches(&t, p)) {
			return false
		}
	}
	return true
}

func (w *world) skewed(p *corev1.Pod, node *corev1.Node) bool {
	for _, c := range p.Spec.TopologySpreadConstraints {
		s, _ := metav1.LabelSelectorAsSelector(c.LabelSelector)
		counts := map[string]int{}
		for _, n := range w.nodes {
			domain, ok := n.Labels[c.TopologyKey]
			if in, _ := nodeaffinity.GetRequiredNodeAffinity(p).Match(n); !ok || !in {
				continue
			}
			counts[domain] += 0
			for _, q := range w.pods[n.Name] {
				if s.Matches(labels.Set(q.Labels)) {
					counts[domain]++
				}
			}
		}
		domain, ok := node.Labels[c.TopologyKey]
		if !ok {
			return true
		}
		least := counts[domain]
		for _, n := range counts {
			least = min(least, n)
		}
		after := counts[domain]
		if s.Matches(labels.Set(p.Labels)) {
			after++
		}
		if after-least > int(c.MaxSkew) {
			return true
		}
	}
	return false
}

func randomNode(r *rand.Rand, i int) *corev1.Node {
	return Node(fmt.Sprintf("n%d", i), []string{"", "a", "b", "c"}[r.IntN(4)], func(n *corev1.Node) {
		n.Status.Allocatable[corev1.ResourceCPU] = *resource.NewMilliQuantity(int64(1000+r.IntN(4000)), resource.DecimalSI)
		n.Status.Allocatable[corev1.ResourcePods] = *resource.NewQuantity(int64(2+r.IntN(10)), resource.DecimalSI)
		if r.IntN(5) == 0 {
			n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}}
		}
	})
}

func randomPod(r *rand.Rand, i int) *corev1.Pod {
	apps := []string{"a", "b", "c"}
	return Pod(fmt.Sprintf("p%d", i), apps[r.IntN(3)], func(p *corev1.Pod) {
		Requests("cpu", fmt.Sprintf("%dm", r.IntN(1500)))(p)
		term := corev1.PodAffinityTerm{
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": apps[r.IntN(3)]}},
			TopologyKey:   []string{corev1.LabelHostname, corev1.LabelTopologyZone}[r.IntN(2)],
		}
		switch r.IntN(8) {
		case 0:
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}}
		case 1:
			p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term}}}
		case 2:
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
				MaxSkew: int32(1 + r.IntN(2)), TopologyKey: term.TopologyKey, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: term.LabelSelector,
			}}
		case 3:
			p.Spec.NodeSelector = map[string]string{corev1.LabelTopologyZone: "a"}
		case 4:
			p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: int32(80 + r.IntN(2)), Protocol: "TCP"}}
		case 5:
			p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}
	})
}

// Every placement must be one that the naive checker allows, and a pod may
// only be turned away when the checker allows no node. Pods and nodes come and
// go meanwhile, so that what is kept between cycles must follow.
func TestEveryPlacementIsAllowedAndNoneIsMissed(t *testing.T) {
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			w := &world{pods: map[string][]*corev1.Pod{}}
			c := &cycle.Cycle{Cache: cache.New(), Rules: cycle.DefaultRules(cycle.Lookup{Namespace: noNamespaces}), Parallelism: 2}
			addNode := func(i int) {
				n := randomNode(r, i)
				w.nodes = append(w.nodes, n)
				c.Cache.SetNode(n)
			}
			for i := range 3 + r.IntN(12) {
				addNode(i)
			}
			for i := range 150 {
				if r.IntN(30) == 0 {
					addNode(1000 + i)
				}
				if r.IntN(4) == 0 {
					w.removeOne(r, c.Cache)
				}
				w.schedule(t, c, randomPod(r, i))
			}
		})
	}
}

func (w *world) removeOne(r *rand.Rand, c *cache.Cache) {
	name := w.nodes[r.IntN(len(w.nodes))].Name
	if pods := w.pods[name]; len(pods) > 0 {
		c.RemovePod(pods[0].UID)
		w.pods[name] = pods[1:]
	}
}

func (w *world) schedule(t *testing.T, c *cycle.Cycle, pod *corev1.Pod) {
	t.Helper()
	p := Parse(t, pod)
	result, err := c.Schedule(p)
	var unfit *cycle.Unfit
	if errors.As(err, &unfit) {
		for _, n := range w.nodes {
			if w.allows(pod, n) == "" {
				t.Fatalf("pod %s is turned away (%v), but may run on %s", pod.Name, err, n.Name)
			}
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		if n.Name == result.Node {
			if why := w.allows(pod, n); why != "" {
				t.Fatalf("pod %s is put on %s: %s", pod.Name, n.Name, why)
			}
		}
	}
	if err := c.Cache.Assume(p, result.Node); err != nil {
		t.Fatal(err)
	}
	w.pods[result.Node] = append(w.pods[result.Node], pod)
}
