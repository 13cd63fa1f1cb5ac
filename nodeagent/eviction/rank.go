package eviction

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// candidate is a pod that may be evicted.
type candidate struct {
	pod   *corev1.Pod
	usage Usage
	known bool // usage is known
}

// rank puts the pod to evict first at the beginning: those that use more than
// they asked for, of these the least important, of these the one that exceeds
// its request most. A pod of unknown usage goes before all: nothing speaks for
// it.
func rank(signal Signal, candidates []candidate) {
	of := func(c candidate) (used, requested uint64) {
		switch signal.resource() {
		case "memory":
			return c.usage.Memory, requestOf(c.pod, corev1.ResourceMemory)
		case "pids":
			return c.usage.Pids, 0
		case "inodes":
			return c.usage.Inodes, 0
		}
		return c.usage.Disk, requestOf(c.pod, corev1.ResourceEphemeralStorage)
	}
	// Inodes and PIDs can't be asked for, so nobody exceeds a request.
	requestable := signal.resource() == "memory" || signal.resource() == "ephemeral-storage"
	slices.SortStableFunc(candidates, func(a, b candidate) int {
		usedA, requestA := of(a)
		usedB, requestB := of(b)
		order := func(first, second bool) int {
			switch {
			case first == second:
				return 0
			case first:
				return -1
			}
			return 1
		}
		exceeds := 0
		if requestable {
			exceeds = order(usedA > requestA, usedB > requestB)
		}
		return cmp.Or(
			order(!a.known, !b.known),
			exceeds,
			cmp.Compare(priorityOf(a.pod), priorityOf(b.pod)),
			cmp.Compare(int64(usedB)-int64(requestB), int64(usedA)-int64(requestA)),
		)
	})
}

// requestOf is what a pod asks for: the sum of its containers, or what one of
// its init containers needs if that is more.
func requestOf(pod *corev1.Pod, name corev1.ResourceName) uint64 {
	return uint64(sumOf(pod, func(c *corev1.Container) int64 {
		q := c.Resources.Requests[name]
		return q.Value()
	}))
}

func sumOf(pod *corev1.Pod, of func(*corev1.Container) int64) int64 {
	var sum, most int64
	for i := range pod.Spec.Containers {
		sum += of(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		most = max(most, of(&pod.Spec.InitContainers[i]))
	}
	return max(sum, most)
}

func priorityOf(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// systemCritical is the least priority of pods that a cluster needs to run.
const systemCritical = 2_000_000_000

// isCritical tells pods that are never evicted: static ones, their mirrors, and
// those without which the cluster does not work.
func isCritical(pod *corev1.Pod) bool {
	if source, ok := pod.Annotations["kubernetes.io/config.source"]; ok && source != "api" {
		return true
	}
	if _, mirror := pod.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return true
	}
	return priorityOf(pod) >= systemCritical
}

func isBestEffort(pod *corev1.Pod) bool {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass == corev1.PodQOSBestEffort
	}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for _, resources := range []corev1.ResourceList{list[i].Resources.Requests, list[i].Resources.Limits} {
				for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
					if q := resources[name]; !q.IsZero() {
						return false
					}
				}
			}
		}
	}
	return true
}

func toleratesMemoryPressure(pod *corev1.Pod) bool {
	for _, t := range pod.Spec.Tolerations {
		key := t.Key == corev1.TaintNodeMemoryPressure || t.Key == "" && t.Operator == corev1.TolerationOpExists
		effect := t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule
		value := t.Operator == corev1.TolerationOpExists || t.Value == ""
		if key && effect && value {
			return true
		}
	}
	return false
}

// evictionMessage is the status message of an evicted pod.
func evictionMessage(t threshold, seen Observation, c candidate) string {
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ",
		t.signal.resource(), t.signal.format(t.least(seen.Capacity)), t.signal.format(seen.Available))
	var name corev1.ResourceName
	var used func(ContainerUsage) uint64
	switch t.signal.resource() {
	case "memory":
		name, used = corev1.ResourceMemory, func(u ContainerUsage) uint64 { return u.Memory }
	case "ephemeral-storage":
		name, used = corev1.ResourceEphemeralStorage, func(u ContainerUsage) uint64 { return u.Disk }
	default:
		return b.String()
	}
	for _, container := range slices.Sorted(maps.Keys(c.usage.Containers)) {
		amount := used(c.usage.Containers[container])
		request := resource.Quantity{Format: resource.BinarySI}
		for i := range c.pod.Spec.Containers {
			if spec := &c.pod.Spec.Containers[i]; spec.Name == container {
				if q, ok := spec.Resources.Requests[name]; ok {
					request = q
				}
			}
		}
		if int64(amount) > request.Value() {
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %s. ",
				container, t.signal.format(amount), request.String(), name)
		}
	}
	return b.String()
}
