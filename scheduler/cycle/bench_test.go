package cycle_test

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/cycle"
)

// benchNode is a node as in kubernetes' own benchmarks: 4 cores, 32 GiB, 110 pods.
func benchNode(i int) *corev1.Node {
	name := fmt.Sprintf("node-%04d", i)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			corev1.LabelHostname:     name,
			corev1.LabelTopologyZone: fmt.Sprintf("zone-%d", i%3),
		}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourceCPU:    resource.MustParse("4"),
			corev1.ResourceMemory: resource.MustParse("32Gi"),
			corev1.ResourcePods:   resource.MustParse("110"),
		}},
	}
}

func benchPod(i int) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprintf("pod-%05d", i), UID: types.UID(fmt.Sprintf("uid-%05d", i)),
			Labels: map[string]string{"app": "web", "pod-template-hash": "abc"},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "registry.k8s.io/pause:3.10",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse("100m"),
				corev1.ResourceMemory: resource.MustParse("500Mi"),
			}},
		}}},
	}
}

// bench schedules pods on nodes b.N times and reports pods per second.
func bench(b *testing.B, nodes, pods int, lookup cycle.Lookup, edit func(int, *corev1.Pod)) {
	b.ReportAllocs()
	parsed := make([]*cache.Pod, pods)
	for i := range parsed {
		pod := benchPod(i)
		if edit != nil {
			edit(i, pod)
		}
		p, err := cache.NewPod(pod)
		if err != nil {
			b.Fatal(err)
		}
		parsed[i] = p
	}
	for b.Loop() {
		b.StopTimer()
		c := &cycle.Cycle{Cache: cache.New(), Rules: cycle.DefaultRules(lookup), Parallelism: runtime.GOMAXPROCS(0)}
		for i := range nodes {
			c.Cache.SetNode(benchNode(i))
		}
		b.StartTimer()
		for _, p := range parsed {
			result, err := c.Schedule(p)
			if err != nil {
				b.Fatal(err)
			}
			if err := c.Cache.Assume(p, result.Node); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(pods)*float64(b.N)/b.Elapsed().Seconds(), "pods/s")
}

func noNamespaces(string) labels.Set { return nil }

func BenchmarkSchedule5000Nodes10000Pods(b *testing.B) {
	bench(b, 5000, 10000, cycle.Lookup{Namespace: noNamespaces}, nil)
}

// The pods of a Deployment spread over hosts and zones by default.
func BenchmarkSchedule5000Nodes10000PodsOfDeployment(b *testing.B) {
	selector := labels.Set{"app": "web", "pod-template-hash": "abc"}.AsSelector()
	lookup := cycle.Lookup{Namespace: noNamespaces, Selector: func(*corev1.Pod) labels.Selector { return selector }}
	bench(b, 5000, 10000, lookup, nil)
}

func BenchmarkSchedule5000Nodes2000PodsAntiAffinity(b *testing.B) {
	bench(b, 5000, 2000, cycle.Lookup{Namespace: noNamespaces}, func(_ int, pod *corev1.Pod) {
		pod.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{
				LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
				TopologyKey:   corev1.LabelHostname,
			}},
		}}
	})
}

func BenchmarkSchedule100Nodes1000Pods(b *testing.B) {
	bench(b, 100, 1000, cycle.Lookup{Namespace: noNamespaces}, nil)
}
