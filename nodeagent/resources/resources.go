package resources

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

const (
	sharesPerCPU = 1024
	minShares    = 2
	quotaPeriod  = 100_000 // microseconds
	minQuota     = 1_000   // microseconds, the kernel's least
)

// shares are a cgroup's part of the CPU.
func shares(cpu *resource.Quantity) uint64 {
	return uint64(max(cpu.MilliValue()*sharesPerCPU/1000, minShares))
}

// quota is a cgroup's limit in microseconds a period; 0 for none.
func quota(cpu *resource.Quantity) int64 {
	if cpu.IsZero() {
		return 0
	}
	return max(cpu.MilliValue()*quotaPeriod/1000, minQuota)
}

// Container gives what one container gets. Without a request, the limit stands
// for it; without a limit, that of the pod does.
func Container(pod *corev1.Pod, c *corev1.Container) runtime.Resources {
	limit := func(name corev1.ResourceName) *resource.Quantity {
		q := c.Resources.Limits[name]
		if q.IsZero() && pod.Spec.Resources != nil {
			q = pod.Spec.Resources.Limits[name]
		}
		return &q
	}
	cpu := limit(corev1.ResourceCPU)
	share := cpu
	if _, ok := c.Resources.Requests[corev1.ResourceCPU]; ok {
		share = c.Resources.Requests.Cpu()
	}
	return runtime.Resources{
		CPUShares: shares(share), CPUQuota: quota(cpu), CPURequest: c.Resources.Requests.Cpu().MilliValue(), CPULimit: cpu.MilliValue(),
		MemoryLimit: limit(corev1.ResourceMemory).Value(), MemoryRequest: c.Resources.Requests.Memory().Value(),
	}
}

// Pod gives what a pod's cgroup gets. It is limited where all containers are, or
// where the pod as a whole is.
func Pod(pod *corev1.Pod) runtime.Resources {
	if !asks(pod) {
		return runtime.Resources{CPUShares: minShares}
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	out := runtime.Resources{
		CPUShares: shares(requests.Cpu()), CPURequest: requests.Cpu().MilliValue(), MemoryRequest: requests.Memory().Value(),
	}
	cpu, memory := true, true
	for _, c := range allContainers(pod) {
		cpu = cpu && !c.Resources.Limits.Cpu().IsZero()
		memory = memory && !c.Resources.Limits.Memory().IsZero()
	}
	if pod.Spec.Resources != nil {
		cpu = cpu || !pod.Spec.Resources.Limits.Cpu().IsZero()
		memory = memory || !pod.Spec.Resources.Limits.Memory().IsZero()
	}
	if cpu {
		out.CPUQuota, out.CPULimit = quota(limits.Cpu()), limits.Cpu().MilliValue()
	}
	if memory {
		out.MemoryLimit = limits.Memory().Value()
	}
	return out
}

// asks says whether a pod requests or limits anything: most sums can be spared
// for those that do not.
func asks(pod *corev1.Pod) bool {
	if pod.Spec.Resources != nil || len(pod.Spec.Overhead) > 0 {
		return true
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if r := &list[i].Resources; len(r.Requests)+len(r.Limits) > 0 {
				return true
			}
		}
	}
	return false
}

func allContainers(pod *corev1.Pod) []*corev1.Container {
	var out []*corev1.Container
	for i := range pod.Spec.InitContainers {
		out = append(out, &pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		out = append(out, &pod.Spec.Containers[i])
	}
	return out
}
