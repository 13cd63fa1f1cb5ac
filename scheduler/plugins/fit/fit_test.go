package fit_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/plugins/fit"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func sidecar(cpu string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{
			Name: "s", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
		})
	}
}

func initContainer(cpu string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{
			Name:      "i",
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
		})
	}
}

func TestFilter(t *testing.T) {
	gpu := func(n *corev1.Node) { n.Status.Allocatable["example.com/gpu"] = resource.MustParse("2") }
	onePod := func(n *corev1.Node) { n.Status.Allocatable[corev1.ResourcePods] = resource.MustParse("1") }
	overhead := func(p *corev1.Pod) {
		p.Spec.Overhead = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1")}
	}
	podLevel := func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5")}}
	}
	for name, test := range map[string]struct {
		pod     *corev1.Pod
		node    *corev1.Node
		there   []*corev1.Pod
		reasons []string
		code    plugins.Code
	}{
		"a pod that requests exactly what is left fits": {
			pod: Pod("p", "", Requests("cpu", "3")), node: Node("n", ""), there: []*corev1.Pod{Pod("q", "", On("n"), Requests("cpu", "1"))},
		},
		"cpu in use by others may be freed": {
			pod: Pod("p", "", Requests("cpu", "3100m")), node: Node("n", ""), there: []*corev1.Pod{Pod("q", "", On("n"), Requests("cpu", "1"))},
			reasons: []string{"Insufficient cpu"}, code: plugins.Unschedulable,
		},
		"more than the node has is never free": {
			pod: Pod("p", "", Requests("cpu", "5", "memory", "9Gi")), node: Node("n", ""),
			reasons: []string{"Insufficient cpu", "Insufficient memory"}, code: plugins.Unresolvable,
		},
		"a node is full of pods": {
			pod: Pod("p", ""), node: Node("n", "", onePod), there: []*corev1.Pod{Pod("q", "", On("n"))},
			reasons: []string{"Too many pods"}, code: plugins.Unschedulable,
		},
		"all that is missing is told": {
			pod: Pod("p", "", Requests("cpu", "4", "example.com/gpu", "2")), node: Node("n", "", onePod, gpu),
			there:   []*corev1.Pod{Pod("q", "", On("n"), Requests("cpu", "1", "example.com/gpu", "1"))},
			reasons: []string{"Too many pods", "Insufficient cpu", "Insufficient example.com/gpu"}, code: plugins.Unschedulable,
		},
		"an extended resource that the node lacks": {
			pod: Pod("p", "", Requests("example.com/gpu", "1")), node: Node("n", ""),
			reasons: []string{"Insufficient example.com/gpu"}, code: plugins.Unresolvable,
		},
		"an extended resource that the node has":       {pod: Pod("p", "", Requests("example.com/gpu", "2")), node: Node("n", "", gpu)},
		"the largest init container counts":            {pod: Pod("p", "", initContainer("5")), node: Node("n", ""), reasons: []string{"Insufficient cpu"}, code: plugins.Unresolvable},
		"init containers do not add to the containers": {pod: Pod("p", "", Requests("cpu", "4"), initContainer("4")), node: Node("n", "")},
		"sidecars add to the containers":               {pod: Pod("p", "", Requests("cpu", "4"), sidecar("1")), node: Node("n", ""), reasons: []string{"Insufficient cpu"}, code: plugins.Unresolvable},
		"overhead adds to the containers":              {pod: Pod("p", "", Requests("cpu", "4"), overhead), node: Node("n", ""), reasons: []string{"Insufficient cpu"}, code: plugins.Unresolvable},
		"requests of the pod replace the containers'":  {pod: Pod("p", "", Requests("cpu", "1"), podLevel), node: Node("n", ""), reasons: []string{"Insufficient cpu"}, code: plugins.Unresolvable},
	} {
		t.Run(name, func(t *testing.T) {
			turn := Turn(t, test.pod, []*corev1.Node{test.node}, test.there...)
			check, _ := fit.Rule{}.PreFilter(turn)
			r := check.Filter(turn.Snapshot.Nodes[0])
			if r == nil {
				if test.reasons != nil {
					t.Fatalf("pod fits, want %v", test.reasons)
				}
				return
			}
			if !reflect.DeepEqual(r.Reasons, test.reasons) || r.Code != test.code {
				t.Errorf("got %v code %d, want %v code %d", r.Reasons, r.Code, test.reasons, test.code)
			}
		})
	}
}

func TestScoreIsTheMeanOfFreeShares(t *testing.T) {
	turn := Turn(t, Pod("p", "", Requests("cpu", "1", "memory", "2Gi")),
		[]*corev1.Node{Node("empty", ""), Node("half", "")}, Pod("q", "", On("half"), Requests("cpu", "2", "memory", "4Gi")))
	// empty: 3/4 of both are free; half: 1/4 of both.
	want := map[string]int64{"empty": 75, "half": 25}
	if got := Scores(fit.Rule{}, turn); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestContainersWithoutRequestsCountWithDefaultsInScores(t *testing.T) {
	turn := Turn(t, Pod("p", ""), []*corev1.Node{Node("n", "")})
	// 100m of 4 cores leaves 97 %, 200 MiB of 8 GiB leaves 97 %.
	if got := Scores(fit.Rule{}, turn)["n"]; got != 97 {
		t.Errorf("got %d, want 97", got)
	}
}
