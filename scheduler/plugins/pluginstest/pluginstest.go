// Package pluginstest makes pods, nodes and turns for tests of rules.
//
// Reads and writes nothing. Start at Turn.
package pluginstest

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Node makes a node with 4 cores, 8 GiB and room for 10 pods, labelled with
// its name and, when given, its zone.
func Node(name, zone string, edit ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("8Gi"),
			corev1.ResourcePods: resource.MustParse("10"),
		}},
	}
	if zone != "" {
		n.Labels[corev1.LabelTopologyZone] = zone
	}
	for _, e := range edit {
		e(n)
	}
	return n
}

// Pod makes a pod in the namespace "default" with one container, whose labels
// are {"app": app}.
func Pod(name, app string, edit ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name), Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "app"}}},
	}
	for _, e := range edit {
		e(p)
	}
	return p
}

// On puts a pod on a node.
func On(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// Requests gives a pod's container requests: name, quantity, name, quantity…
func Requests(pairs ...string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		list := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		p.Spec.Containers[0].Resources.Requests = list
	}
}

// Parse computes what rules need of a pod.
func Parse(t testing.TB, p *corev1.Pod) *cache.Pod {
	t.Helper()
	parsed, err := cache.NewPod(p)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Turn makes a turn of a pod on a snapshot of nodes and the pods on them.
func Turn(t testing.TB, pod *corev1.Pod, nodes []*corev1.Node, pods ...*corev1.Pod) *plugins.Turn {
	t.Helper()
	c := cache.New()
	for _, n := range nodes {
		c.SetNode(n)
	}
	for _, p := range pods {
		c.SetPod(Parse(t, p))
	}
	s := &cache.Snapshot{}
	c.Update(s)
	return &plugins.Turn{Pod: Parse(t, pod), Snapshot: s}
}

// Judge runs a rule's filter and gives each node's first reason, or the
// prefilter's for all; empty for nodes that fit.
func Judge(f plugins.Filter, turn *plugins.Turn) map[string]string {
	out := map[string]string{}
	check, all := f.PreFilter(turn)
	for _, n := range turn.Snapshot.Nodes {
		r := all
		if r == nil && check != nil {
			r = check.Filter(n)
		}
		out[n.Name] = ""
		if r != nil {
			out[n.Name] = r.Reasons[0]
		}
	}
	return out
}

// Scores runs a rule's scoring; nil when it has no preference.
func Scores(s plugins.Score, turn *plugins.Turn) map[string]int64 {
	nodes := turn.Snapshot.Nodes
	scorer := s.PreScore(turn, nodes)
	if scorer == nil {
		return nil
	}
	scores := make([]int64, len(nodes))
	for i, n := range nodes {
		scores[i] = scorer.Score(n)
	}
	if norm, ok := scorer.(plugins.Normalizer); ok {
		norm.Normalize(nodes, scores)
	}
	out := map[string]int64{}
	for i, n := range nodes {
		out[n.Name] = scores[i]
	}
	return out
}
