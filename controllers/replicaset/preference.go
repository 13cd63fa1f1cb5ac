package replicaset

import (
	"cmp"
	"math/bits"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// planDelete returns the count pods that are missed least. The order is the one
// in "ReplicaSet: Scaling down" of the Kubernetes documentation, and before it
// what is not running yet:
//
//  1. without a node before with one
//  2. phase Pending, then Unknown, then Running
//  3. not ready before ready
//  4. lower controller.kubernetes.io/pod-deletion-cost first
//  5. on the node with more replicas first
//  6. ready for a shorter time first, to the power of two
//  7. more restarts first, of containers, then of sidecars
//  8. created more recently first, to the power of two
//
// and, among equals, by UID, which is as good as by chance.
func planDelete(pods []*corev1.Pod, count int, perNode map[string]int, now time.Time) []*corev1.Pod {
	if count >= len(pods) {
		return pods
	}
	ranked := make([]rank, 0, len(pods))
	for _, pod := range pods {
		ranked = append(ranked, rankOf(pod, perNode, now))
	}
	slices.SortFunc(ranked, compareRanks)
	chosen := make([]*corev1.Pod, 0, count)
	for _, r := range ranked[:count] {
		chosen = append(chosen, r.pod)
	}
	return chosen
}

// rank is what a pod is compared by; smaller numbers are deleted first.
type rank struct {
	pod      *corev1.Pod
	order    [5]int
	isReady  bool
	readyFor int
	restarts [2]int
	age      int
}

func rankOf(pod *corev1.Pod, perNode map[string]int, now time.Time) rank {
	phases := map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}
	ready := readyCondition(pod)
	r := rank{
		pod:     pod,
		isReady: ready.Status == corev1.ConditionTrue,
		order: [5]int{
			asInt(pod.Spec.NodeName != ""),
			phases[pod.Status.Phase],
			asInt(ready.Status == corev1.ConditionTrue),
			deletionCost(pod),
			-perNode[pod.Spec.NodeName],
		},
		age: magnitude(pod.CreationTimestamp, now),
	}
	if r.isReady {
		r.readyFor = magnitude(ready.LastTransitionTime, now)
	}
	r.restarts[0], r.restarts[1] = restarts(pod)
	return r
}

func compareRanks(a, b rank) int {
	if c := slices.Compare(a.order[:], b.order[:]); c != 0 {
		return c
	}
	return cmp.Or(
		cmp.Compare(a.readyFor, b.readyFor),
		cmp.Compare(b.restarts[0], a.restarts[0]),
		cmp.Compare(b.restarts[1], a.restarts[1]),
		cmp.Compare(a.age, b.age),
		cmp.Compare(a.pod.UID, b.pod.UID),
	)
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// deletionCost is 0 where the annotation is missing or no 32-bit integer.
func deletionCost(pod *corev1.Pod) int {
	cost, err := strconv.ParseInt(pod.Annotations[corev1.PodDeletionCost], 10, 32)
	if err != nil {
		return 0
	}
	return int(cost)
}

// magnitude is the power of two of the time since at, in nanoseconds, so that
// pods of nearly the same age count as equal. An unset time counts as now.
func magnitude(at metav1.Time, now time.Time) int {
	if at.IsZero() {
		return 0
	}
	return bits.Len64(uint64(max(now.Sub(at.Time), 0)))
}

// restarts returns the most restarts of any one container of a pod, and of any
// one of its sidecars (init containers that are restarted always).
func restarts(pod *corev1.Pod) (container, sidecar int) {
	for _, status := range pod.Status.ContainerStatuses {
		container = max(container, int(status.RestartCount))
	}
	for _, status := range pod.Status.InitContainerStatuses {
		isSidecar := slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool {
			return c.Name == status.Name && c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		})
		if isSidecar {
			sidecar = max(sidecar, int(status.RestartCount))
		}
	}
	return container, sidecar
}
