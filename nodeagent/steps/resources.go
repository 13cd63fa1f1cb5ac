package steps

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

const (
	sharesPerCPU  = 1024
	minShares     = 2
	quotaPeriod   = 100_000 // microseconds
	minQuota      = 1_000   // microseconds, the kernel's least
	guaranteedOOM = -997
	bestEffortOOM = 1000
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

// containerResources: without a request, the limit stands for it.
func containerResources(c *corev1.Container) runtime.Resources {
	request := c.Resources.Requests.Cpu()
	if _, ok := c.Resources.Requests[corev1.ResourceCPU]; !ok {
		request = c.Resources.Limits.Cpu()
	}
	return runtime.Resources{
		CPUShares: shares(request), CPUQuota: quota(c.Resources.Limits.Cpu()),
		MemoryLimit: c.Resources.Limits.Memory().Value(), MemoryRequest: c.Resources.Requests.Memory().Value(),
	}
}

// podResources limits a pod's cgroup where all of its containers are limited.
func podResources(pod *corev1.Pod) runtime.Resources {
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	out := runtime.Resources{CPUShares: shares(requests.Cpu()), MemoryRequest: requests.Memory().Value()}
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
		out.CPUQuota = quota(limits.Cpu())
	}
	if memory {
		out.MemoryLimit = limits.Memory().Value()
	}
	return out
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

// QOS is a pod's class: the API server's word, else Kubernetes' rule.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	any, guaranteed := false, true
	for _, c := range allContainers(pod) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := c.Resources.Limits[name]
			request, requested := c.Resources.Requests[name]
			any = any || limited && !limit.IsZero() || requested && !request.IsZero()
			if !limited || limit.IsZero() || requested && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// oomScoreAdj makes the kernel kill best-effort containers first, guaranteed
// ones last, and burstable ones the sooner the less memory they asked for.
func oomScoreAdj(pod *corev1.Pod, c *corev1.Container, capacity int64) int {
	if pod.Spec.Priority != nil && *pod.Spec.Priority >= 2_000_000_000 {
		return guaranteedOOM // critical to the system
	}
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedOOM
	case corev1.PodQOSBestEffort:
		return bestEffortOOM
	}
	if capacity == 0 {
		return bestEffortOOM - 1
	}
	adj := 1000 - 1000*c.Resources.Requests.Memory().Value()/capacity
	// Above guaranteed ones and below best-effort ones, whatever was asked for.
	adj = min(max(adj, 1000+guaranteedOOM), bestEffortOOM-1)
	if podworker.IsSidecar(c) {
		for i := range pod.Spec.Containers {
			other := 1000 - 1000*pod.Spec.Containers[i].Resources.Requests.Memory().Value()/capacity
			adj = min(adj, max(other, 1000+guaranteedOOM))
		}
	}
	return int(adj)
}
