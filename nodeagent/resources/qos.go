package resources

import (
	corev1 "k8s.io/api/core/v1"
)

const (
	guaranteedOOM = -997
	bestEffortOOM = 1000
)

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

// OOMScoreAdj makes the kernel kill best-effort containers first, guaranteed
// ones last, and burstable ones the sooner the less memory they asked for.
// capacity is the node's memory in bytes.
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, capacity int64) int {
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
	if isSidecar(c) {
		for i := range pod.Spec.Containers {
			other := 1000 - 1000*pod.Spec.Containers[i].Resources.Requests.Memory().Value()/capacity
			adj = min(adj, max(other, 1000+guaranteedOOM))
		}
	}
	return int(adj)
}

func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}
