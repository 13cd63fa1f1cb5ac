package cache_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

// TestRequestsOfResizedPods counts what is most of what a pod asks for, what its
// node has allocated, and what it has; but what its node can never give it is
// not counted.
func TestRequestsOfResizedPods(t *testing.T) {
	cpu := func(amount string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(amount)}
	}
	shows := func(allocated, actual string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.AllocatedResources, p.Status.Resources = cpu(allocated), &corev1.ResourceRequirements{Requests: cpu(actual)}
			for _, c := range p.Spec.Containers {
				p.Status.ContainerStatuses = append(p.Status.ContainerStatuses, corev1.ContainerStatus{
					Name: c.Name, AllocatedResources: cpu(allocated), Resources: &corev1.ResourceRequirements{Requests: cpu(actual)},
				})
			}
		}
	}
	pending := func(reason string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: reason}}
		}
	}
	for _, tt := range []struct {
		name  string
		asks  string
		parts []func(*corev1.Pod)
		want  int64
	}{
		{"a pod that nothing is known of counts as it asks", "1", nil, 1000},
		{"one that shrinks counts as it was until it has", "1", []func(*corev1.Pod){shows("1", "3")}, 3000},
		{"also as long as its node has not allowed it", "1", []func(*corev1.Pod){shows("3", "3")}, 3000},
		{"one that grows counts as it will be", "3", []func(*corev1.Pod){shows("3", "1")}, 3000},
		{"one that waits for room has it promised", "3", []func(*corev1.Pod){shows("1", "1"), pending(corev1.PodReasonDeferred)}, 3000},
		{"one that will never have it does not", "3", []func(*corev1.Pod){shows("1", "1"), pending(corev1.PodReasonInfeasible)}, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pod := Pod("p", "", On("n"), Requests("cpu", tt.asks))
			for _, f := range tt.parts {
				f(pod)
			}
			if got := Parse(t, pod).Requests.MilliCPU; got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}
