package podctl

import (
	"cmp"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Items returns pointers to the items of a list, without copying them.
func Items(list *corev1.PodList) []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return pods
}

// HasEnded tells whether all containers of a pod have ended for good.
func HasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// IsActive tells whether a pod has neither ended nor is terminating.
func IsActive(pod *corev1.Pod) bool { return !HasEnded(pod) && pod.DeletionTimestamp == nil }

// IsTerminating tells whether a pod is being deleted and has not ended yet.
func IsTerminating(pod *corev1.Pod) bool { return !HasEnded(pod) && pod.DeletionTimestamp != nil }

// Condition returns a pod's condition of a type, or an empty one.
func Condition(pod *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == kind {
			return condition
		}
	}
	return corev1.PodCondition{}
}

// IsReady tells whether a pod's condition Ready is true.
func IsReady(pod *corev1.Pod) bool {
	return Condition(pod, corev1.PodReady).Status == corev1.ConditionTrue
}

// AvailableIn is how long it is until a pod that is ready has been so for
// minReadySeconds: 0 when it is available by now; not ok when it is not ready.
func AvailableIn(pod *corev1.Pod, minReadySeconds int32, now time.Time) (wait time.Duration, ok bool) {
	ready := Condition(pod, corev1.PodReady)
	if ready.Status != corev1.ConditionTrue {
		return 0, false
	}
	if minReadySeconds == 0 {
		return 0, true
	}
	since := ready.LastTransitionTime.Time
	return max(0, since.Add(time.Duration(minReadySeconds)*time.Second).Sub(now)), true
}

// IsAvailable tells whether a pod has been ready for minReadySeconds.
func IsAvailable(pod *corev1.Pod, minReadySeconds int32, now time.Time) bool {
	wait, ok := AvailableIn(pod, minReadySeconds, now)
	return ok && wait == 0
}

// ByProgress orders pods by how little is lost when they are deleted: those
// without a node first, then those that do not run, that are not ready, that
// have been ready for a shorter time, that have restarted more often, that are
// younger.
func ByProgress(a, b *corev1.Pod) int {
	phases := map[corev1.PodPhase]int{corev1.PodUnknown: 1, corev1.PodRunning: 2}
	readyA, readyB := IsReady(a), IsReady(b)
	order := cmp.Or(
		compareBool(a.Spec.NodeName != "", b.Spec.NodeName != ""),
		cmp.Compare(phases[a.Status.Phase], phases[b.Status.Phase]),
		compareBool(readyA, readyB),
	)
	if order == 0 && readyA {
		order = Condition(b, corev1.PodReady).LastTransitionTime.Compare(Condition(a, corev1.PodReady).LastTransitionTime.Time)
	}
	return cmp.Or(
		order,
		cmp.Compare(Restarts(b), Restarts(a)),
		b.CreationTimestamp.Compare(a.CreationTimestamp.Time),
		cmp.Compare(a.UID, b.UID),
	)
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// Restarts is how often a pod's containers, init containers with them, have
// been started again.
func Restarts(pod *corev1.Pod) int32 {
	var sum int32
	for _, status := range pod.Status.InitContainerStatuses {
		sum += status.RestartCount
	}
	for _, status := range pod.Status.ContainerStatuses {
		sum += status.RestartCount
	}
	return sum
}
