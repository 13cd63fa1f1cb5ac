package resources_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// list reads "cpu=1 memory=1Gi".
func list(text string) corev1.ResourceList {
	if text == "" {
		return nil
	}
	out := corev1.ResourceList{}
	for word := range strings.FieldsSeq(text) {
		name, q, _ := strings.Cut(word, "=")
		out[corev1.ResourceName(name)] = resource.MustParse(q)
	}
	return out
}

func container(name, requests, limits string, policies ...corev1.ContainerResizePolicy) corev1.Container {
	return corev1.Container{
		Name: name, ResizePolicy: policies,
		Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)},
	}
}

func pod(containers ...corev1.Container) *corev1.Pod {
	return &corev1.Pod{Spec: corev1.PodSpec{Containers: containers}}
}

// restarts is a policy for one resource.
func restarts(name corev1.ResourceName) corev1.ContainerResizePolicy {
	return corev1.ContainerResizePolicy{ResourceName: name, RestartPolicy: corev1.RestartContainer}
}

// running is what the runtime has of a pod whose containers all run.
func running(p *corev1.Pod) (*runtime.Sandbox, []runtime.Container) {
	var out []runtime.Container
	add := func(c *corev1.Container, kind runtime.ContainerKind) {
		out = append(out, runtime.Container{ID: c.Name + "-id", Name: c.Name, Kind: kind, State: runtime.Running, Resources: resources.Container(p, c)})
	}
	for i := range p.Spec.InitContainers {
		add(&p.Spec.InitContainers[i], runtime.Init)
	}
	for i := range p.Spec.Containers {
		add(&p.Spec.Containers[i], runtime.Regular)
	}
	return &runtime.Sandbox{Resources: resources.Pod(p)}, out
}

// describe writes a plan in one line.
func describe(p resources.Plan) string {
	var words []string
	whole := func(name string, r *runtime.Resources) {
		if r != nil {
			words = append(words, fmt.Sprintf("%s to %d/%d CPU, %d Mi", name, r.CPURequest, r.CPULimit, r.MemoryLimit>>20))
		}
	}
	whole("grow", p.Grow)
	for _, c := range p.Containers {
		words = append(words, fmt.Sprintf("%s to %d/%d CPU, %d Mi", c.Name, c.To.CPURequest, c.To.CPULimit, c.To.MemoryLimit>>20))
	}
	for _, name := range p.Restart {
		words = append(words, "restart "+name)
	}
	whole("settle", p.Settle)
	return strings.Join(words, "; ")
}

func TestNewPlan(t *testing.T) {
	sidecar := func(c corev1.Container) corev1.Container {
		c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		return c
	}
	for _, tt := range []struct {
		name     string
		has, get *corev1.Pod
		observed func(*runtime.Sandbox, []runtime.Container)
		want     string
	}{
		{
			name: "who has what it shall have is left alone",
			has:  pod(container("a", "cpu=1 memory=64Mi", "cpu=1 memory=64Mi")),
			get:  pod(container("a", "cpu=1 memory=64Mi", "cpu=1 memory=64Mi")),
		},
		{
			name: "a pod grows before its containers",
			has:  pod(container("a", "cpu=1 memory=64Mi", "cpu=1 memory=64Mi")),
			get:  pod(container("a", "cpu=2 memory=128Mi", "cpu=2 memory=128Mi")),
			want: "grow to 2000/2000 CPU, 128 Mi; a to 2000/2000 CPU, 128 Mi",
		},
		{
			name: "a pod shrinks after its containers",
			has:  pod(container("a", "cpu=2 memory=128Mi", "cpu=2 memory=128Mi")),
			get:  pod(container("a", "cpu=1 memory=64Mi", "cpu=1 memory=64Mi")),
			want: "a to 1000/1000 CPU, 64 Mi; settle to 1000/1000 CPU, 64 Mi",
		},
		{
			name: "what grows in one and shrinks in the other does both",
			has:  pod(container("a", "cpu=1 memory=128Mi", "cpu=1 memory=128Mi")),
			get:  pod(container("a", "cpu=2 memory=64Mi", "cpu=2 memory=64Mi")),
			want: "grow to 2000/2000 CPU, 128 Mi; a to 2000/2000 CPU, 64 Mi; settle to 2000/2000 CPU, 64 Mi",
		},
		{
			name: "containers that lose memory come first",
			has:  pod(container("a", "", "cpu=1 memory=64Mi"), container("b", "", "cpu=1 memory=64Mi")),
			get:  pod(container("a", "", "cpu=1 memory=96Mi"), container("b", "", "cpu=1 memory=32Mi")),
			want: "b to 0/1000 CPU, 32 Mi; a to 0/1000 CPU, 96 Mi",
		},
		{
			name: "a first limit of the last container limits the pod",
			has:  pod(container("a", "cpu=1", "cpu=1"), container("b", "cpu=1", "")),
			get:  pod(container("a", "cpu=1", "cpu=1"), container("b", "cpu=1", "cpu=2")),
			want: "b to 1000/2000 CPU, 0 Mi; settle to 2000/3000 CPU, 0 Mi",
		},
		{
			name: "a policy has a container start anew, which the pod waits for",
			has:  pod(container("a", "cpu=2", "cpu=2", restarts("cpu"))),
			get:  pod(container("a", "cpu=1", "cpu=1", restarts("cpu"))),
			want: "restart a",
		},
		{
			name: "a pod grows before a container of it starts anew",
			has:  pod(container("a", "cpu=1", "cpu=1", restarts("cpu"))),
			get:  pod(container("a", "cpu=2", "cpu=2", restarts("cpu"))),
			want: "grow to 2000/2000 CPU, 0 Mi; restart a",
		},
		{
			name: "a policy of the other resource does not",
			has:  pod(container("a", "cpu=1", "cpu=1", restarts("memory"))),
			get:  pod(container("a", "cpu=2", "cpu=2", restarts("memory"))),
			want: "grow to 2000/2000 CPU, 0 Mi; a to 2000/2000 CPU, 0 Mi",
		},
		{
			name: "requests alone are a change, too",
			has:  pod(container("a", "memory=64Mi", "")),
			get:  pod(container("a", "memory=32Mi", "")),
			want: "a to 0/0 CPU, 0 Mi; settle to 0/0 CPU, 0 Mi",
		},
		{
			name: "what does not run gets its resources when it starts",
			has:  pod(container("a", "cpu=1", "")),
			get:  pod(container("a", "cpu=2", "")),
			observed: func(_ *runtime.Sandbox, c []runtime.Container) {
				c[0].State = runtime.Exited
			},
			want: "grow to 2000/0 CPU, 0 Mi",
		},
		{
			name: "what is not known is taken as right",
			has:  pod(container("a", "cpu=1", "")),
			get:  pod(container("a", "cpu=2", "")),
			observed: func(s *runtime.Sandbox, c []runtime.Container) {
				s.Resources, c[0].Resources = runtime.Resources{}, runtime.Resources{}
			},
		},
		{
			name: "an init container changes, and never starts anew for it",
			has:  &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{container("i", "cpu=1", "", restarts("cpu"))}}},
			get:  &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{container("i", "cpu=2", "", restarts("cpu"))}}},
			want: "grow to 2000/0 CPU, 0 Mi; i to 2000/0 CPU, 0 Mi",
		},
		{
			name: "a sidecar does",
			has:  &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{sidecar(container("i", "cpu=1", "", restarts("cpu")))}}},
			get:  &corev1.Pod{Spec: corev1.PodSpec{InitContainers: []corev1.Container{sidecar(container("i", "cpu=2", "", restarts("cpu")))}}},
			want: "grow to 2000/0 CPU, 0 Mi; restart i",
		},
		{
			name: "a pod's own limit is that of containers without one",
			has:  &corev1.Pod{Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Limits: list("cpu=1")}, Containers: []corev1.Container{container("a", "", "")}}},
			get:  &corev1.Pod{Spec: corev1.PodSpec{Resources: &corev1.ResourceRequirements{Limits: list("cpu=2")}, Containers: []corev1.Container{container("a", "", "")}}},
			want: "grow to 0/2000 CPU, 0 Mi; a to 0/2000 CPU, 0 Mi",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sandbox, containers := running(tt.has)
			if tt.observed != nil {
				tt.observed(sandbox, containers)
			}
			if got := describe(resources.NewPlan(tt.get, sandbox, containers)); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	has := pod(container("a", "", "memory=64Mi"), container("b", "", "memory=64Mi"))
	less := pod(container("a", "", "memory=16Mi"), container("b", "", "memory=64Mi"))
	tiny := pod(container("a", "", "memory=16Ki"), container("b", "", "memory=16Ki"))
	for _, tt := range []struct {
		name  string
		get   *corev1.Pod
		usage map[string]uint64
		want  string
	}{
		{"a limit above what is used is fine", less, map[string]uint64{"a": 8 << 20, "b": 8 << 20}, ""},
		{"a container's limit is not set below what it uses", less, map[string]uint64{"a": 17 << 20, "b": 1 << 20},
			`cannot decrease memory limits: attempting to set container "a" memory limit (16777216) below current usage (17825792)`},
		{"nor is a pod's", less, map[string]uint64{"a": 1 << 20, "b": 80 << 20},
			`cannot decrease memory limits: attempting to set pod memory limit (83886080) below current usage (84934656)`},
		{"all that is wrong is told", tiny, map[string]uint64{"a": 1 << 20, "b": 1 << 10},
			`cannot decrease memory limits: [attempting to set pod memory limit (32768) below current usage (1049600), attempting to set container "a" memory limit (16384) below current usage (1048576)]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			sandbox, containers := running(has)
			plan := resources.NewPlan(tt.get, sandbox, containers)
			if !plan.Lowers(sandbox.Resources) {
				t.Error("nothing becomes less")
			}
			got := ""
			if err := plan.Check(tt.usage, sandbox.Resources); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestOfContainer(t *testing.T) {
	had := container("a", "cpu=100m memory=64Mi", "cpu=0.2")
	for _, tt := range []struct {
		name string
		get  corev1.Container
		want string
	}{
		{"as allocated, if it has that", had, "requests cpu=100m memory=64Mi limits cpu=200m"},
		{"what it still has, if other things were allocated", container("a", "cpu=1 memory=1Gi ephemeral-storage=1Gi", "cpu=2 memory=2Gi"),
			"requests cpu=100m ephemeral-storage=1Gi memory=64Mi limits cpu=200m"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			has := resources.Container(pod(had), &had)
			got := resources.OfContainer(pod(tt.get), &tt.get, has)
			if text := "requests" + text(got.Requests) + " limits" + text(got.Limits); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}

func TestOfPod(t *testing.T) {
	had := pod(container("a", "cpu=100m memory=64Mi", "cpu=200m memory=128Mi"), container("b", "cpu=100m", "cpu=200m memory=128Mi"))
	had.Spec.Overhead = list("cpu=10m")
	get := had.DeepCopy()
	get.Spec.Containers[0].Resources.Requests = list("cpu=300m memory=64Mi")
	for _, tt := range []struct {
		name string
		get  *corev1.Pod
		want string
	}{
		{"the sum of what containers were allocated, without overhead", had, "requests cpu=200m memory=64Mi limits cpu=400m memory=256Mi"},
		{"nothing, if it asks for nothing", pod(container("a", "", "")), "requests limits"},
		{"what its cgroup still has, if other things were allocated", get, "requests cpu=200m memory=64Mi limits cpu=400m memory=256Mi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := resources.OfPod(tt.get, resources.Pod(had))
			if text := "requests" + text(got.Requests) + " limits" + text(got.Limits); text != tt.want {
				t.Errorf("got %s, want %s", text, tt.want)
			}
		})
	}
}

func text(list corev1.ResourceList) string {
	out := ""
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceEphemeralStorage, corev1.ResourceMemory} {
		if q, ok := list[name]; ok {
			out += fmt.Sprintf(" %s=%s", name, q.String())
		}
	}
	return out
}
