package resources

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// OfContainer gives the resources that a running container has: those that were
// allocated, with CPU and memory as the runtime has them.
func OfContainer(pod *corev1.Pod, allocated *corev1.Container, has runtime.Resources) *corev1.ResourceRequirements {
	out := allocated.Resources.DeepCopy()
	want := Container(pod, allocated)
	if has == want || has == (runtime.Resources{}) {
		return out
	}
	correct(out, has, want)
	return out
}

// Allocated gives the requests that a pod was allocated as a whole. Overhead is
// no part of them: the scheduler adds it.
func Allocated(pod *corev1.Pod) corev1.ResourceList {
	if !asks(pod) {
		return nil
	}
	return resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{ExcludeOverhead: true})
}

// OfPod gives the resources that a pod has as a whole: those that were
// allocated, with CPU and memory as its cgroup has them.
func OfPod(pod *corev1.Pod, has runtime.Resources) *corev1.ResourceRequirements {
	if !asks(pod) {
		return &corev1.ResourceRequirements{}
	}
	out := &corev1.ResourceRequirements{
		Requests: Allocated(pod),
		Limits:   resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{ExcludeOverhead: true}),
	}
	want := Pod(pod)
	want.PidsLimit = has.PidsLimit
	if has != want && has != (runtime.Resources{}) {
		correct(out, withoutOverhead(pod, has), withoutOverhead(pod, want))
	}
	return out
}

// withoutOverhead takes from a pod's cgroup what is not the containers'.
func withoutOverhead(pod *corev1.Pod, r runtime.Resources) runtime.Resources {
	less := func(from *int64, overhead int64) {
		if *from > overhead {
			*from -= overhead
		}
	}
	cpu, memory := pod.Spec.Overhead.Cpu().MilliValue(), pod.Spec.Overhead.Memory().Value()
	less(&r.CPURequest, cpu)
	less(&r.CPULimit, cpu)
	less(&r.MemoryRequest, memory)
	less(&r.MemoryLimit, memory)
	return r
}

// correct sets what differs from what is wanted to what there is.
func correct(out *corev1.ResourceRequirements, has, want runtime.Resources) {
	set := func(list *corev1.ResourceList, name corev1.ResourceName, has, want int64, quantity func(int64) *resource.Quantity) {
		switch has {
		case want:
		case 0:
			delete(*list, name)
		default:
			if *list == nil {
				*list = corev1.ResourceList{}
			}
			(*list)[name] = *quantity(has)
		}
	}
	milli := func(n int64) *resource.Quantity { return resource.NewMilliQuantity(n, resource.DecimalSI) }
	bytes := func(n int64) *resource.Quantity { return resource.NewQuantity(n, resource.BinarySI) }
	set(&out.Requests, corev1.ResourceCPU, has.CPURequest, want.CPURequest, milli)
	set(&out.Limits, corev1.ResourceCPU, has.CPULimit, want.CPULimit, milli)
	set(&out.Requests, corev1.ResourceMemory, has.MemoryRequest, want.MemoryRequest, bytes)
	set(&out.Limits, corev1.ResourceMemory, has.MemoryLimit, want.MemoryLimit, bytes)
}
