package job

import (
	"math"
	"slices"
	"strconv"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// noIndex is the completion index of a pod that has none.
const noIndex = -1

func isTracked(pod *corev1.Pod) bool {
	return slices.Contains(pod.Finalizers, batchv1.JobTrackingFinalizer)
}

func isIndexed(job *batchv1.Job) bool {
	return ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

func isSuspended(job *batchv1.Job) bool { return ptr.Deref(job.Spec.Suspend, false) }

// limitsIndexes tells whether each index may fail on its own.
func limitsIndexes(job *batchv1.Job) bool { return job.Spec.BackoffLimitPerIndex != nil }

// waitsForEnd tells whether a pod is replaced, and counts as failed, only once
// it has ended and not already when it is terminating.
func waitsForEnd(job *batchv1.Job) bool {
	return job.Spec.PodFailurePolicy != nil || ptr.Deref(job.Spec.PodReplacementPolicy, batchv1.TerminatingOrFailed) == batchv1.Failed
}

// hasFailed tells whether a pod counts as failed. A pod that is deleted may
// never reach the phase Failed, when its node is gone for instance.
func hasFailed(job *batchv1.Job, pod *corev1.Pod) bool {
	if waitsForEnd(job) {
		return pod.Status.Phase == corev1.PodFailed
	}
	return pod.Status.Phase == corev1.PodFailed || podctl.IsTerminating(pod)
}

// indexOf is a pod's completion index, or noIndex.
func indexOf(pod *corev1.Pod) int {
	index, err := strconv.Atoi(pod.Annotations[batchv1.JobCompletionIndexAnnotation])
	if err != nil || index < 0 {
		return noIndex
	}
	return index
}

// isValid tells whether a pod is one that the Job wants: any, or, in an Indexed
// Job, one with an index below completions.
func isValid(job *batchv1.Job, pod *corev1.Pod) bool {
	if !isIndexed(job) {
		return true
	}
	index := indexOf(pod)
	return index != noIndex && index < int(ptr.Deref(job.Spec.Completions, 0))
}

// failuresBefore is how often a pod's index had failed when it was created:
// failures that count, and failures that the policy ignores.
func failuresBefore(pod *corev1.Pod) (counted, ignored int32) {
	number := func(key string) int32 {
		n, err := strconv.Atoi(pod.Annotations[key])
		if err != nil || n < 0 || n > math.MaxInt32 {
			return 0
		}
		return int32(n)
	}
	return number(batchv1.JobIndexFailureCountAnnotation), number(batchv1.JobIndexIgnoredFailureCountAnnotation)
}

// endedAt is when a pod ended, as well as it can be told: when the last
// container did; else when the pod ceased to be ready, was deleted or created.
func endedAt(pod *corev1.Pod) time.Time {
	var last time.Time
	for _, status := range pod.Status.ContainerStatuses {
		if status.State.Terminated == nil {
			last = time.Time{}
			break
		}
		if at := status.State.Terminated.FinishedAt.Time; at.After(last) {
			last = at
		}
	}
	if !last.IsZero() {
		return last
	}
	if ready := podctl.Condition(pod, corev1.PodReady); ready.Status == corev1.ConditionFalse && !ready.LastTransitionTime.IsZero() {
		return ready.LastTransitionTime.Time
	}
	if pod.DeletionTimestamp != nil {
		grace := time.Duration(ptr.Deref(pod.DeletionGracePeriodSeconds, 0)) * time.Second
		return pod.DeletionTimestamp.Add(-grace)
	}
	return pod.CreationTimestamp.Time
}
