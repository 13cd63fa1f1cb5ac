package job

import (
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// tally is what a Job's pods amount to, together with what its status counts.
type tally struct {
	active      []*corev1.Pod
	terminating []*corev1.Pod

	// Pods whose end the status does not know of yet.
	newSucceeded, newFailed []*corev1.Pod

	// All that have ended, the new ones included. Failed ones are those that
	// count towards the backoff limit.
	succeeded, failed int32

	// Of an Indexed Job; failedIndexes only with backoffLimitPerIndex.
	succeededIndexes, failedIndexes indexes

	// last is the pod that failed last for each index that waits for a new
	// one, with backoffLimitPerIndex. Its finalizer stays until there is a
	// replacement, which takes over its count of failures.
	last map[int]*corev1.Pod
}

// count counts a Job's pods.
func count(job *batchv1.Job, pods []*corev1.Pod) tally {
	var t tally
	uncounted := ptr.Deref(job.Status.UncountedTerminatedPods, batchv1.UncountedTerminatedPods{})
	isNew := func(pod *corev1.Pod, known []types.UID) bool {
		return isTracked(pod) && isValid(job, pod) && !slices.Contains(known, pod.UID)
	}
	counting := 0
	for _, pod := range pods {
		switch {
		case podctl.IsActive(pod):
			t.active = append(t.active, pod)
		case podctl.IsTerminating(pod):
			t.terminating = append(t.terminating, pod)
		}
		switch {
		case pod.Status.Phase == corev1.PodSucceeded && isNew(pod, uncounted.Succeeded):
			t.newSucceeded = append(t.newSucceeded, pod)
		case hasFailed(job, pod) && isNew(pod, uncounted.Failed):
			t.newFailed = append(t.newFailed, pod)
			if judge(job.Spec.PodFailurePolicy, pod).counts() {
				counting++
			}
		}
	}
	t.succeeded = job.Status.Succeeded + int32(len(uncounted.Succeeded)+len(t.newSucceeded))
	t.failed = job.Status.Failed + int32(len(uncounted.Failed)+counting)
	if isIndexed(job) {
		t.countIndexes(job, pods)
	}
	return t
}

func (t *tally) countIndexes(job *batchv1.Job, pods []*corev1.Pod) {
	end := completions(job)
	var succeeded, failed []int
	for _, pod := range pods {
		switch {
		case !isTracked(pod) || !isValid(job, pod):
		case pod.Status.Phase == corev1.PodSucceeded:
			succeeded = append(succeeded, indexOf(pod))
		case limitsIndexes(job) && failsIndex(job, pod):
			failed = append(failed, indexOf(pod))
		}
	}
	t.succeededIndexes = parseIndexes(job.Status.CompletedIndexes, end).with(succeeded...)
	t.succeeded = int32(t.succeededIndexes.count())
	if !limitsIndexes(job) {
		return
	}
	t.failedIndexes = parseIndexes(ptr.Deref(job.Status.FailedIndexes, ""), end).with(failed...)

	settled := t.succeededIndexes.union(t.failedIndexes).with(indexesOf(t.active)...)
	t.last = map[int]*corev1.Pod{}
	for _, pod := range pods {
		index := indexOf(pod)
		if !isTracked(pod) || !isValid(job, pod) || !hasFailed(job, pod) || settled.has(index) {
			continue
		}
		if other := t.last[index]; other == nil || isLater(pod, other) {
			t.last[index] = pod
		}
	}
}

// failsIndex tells whether a pod's end is the end of its index.
func failsIndex(job *batchv1.Job, pod *corev1.Pod) bool {
	if !hasFailed(job, pod) {
		return false
	}
	verdict := judge(job.Spec.PodFailurePolicy, pod)
	if verdict.action == batchv1.PodFailurePolicyActionFailIndex {
		return true
	}
	before, _ := failuresBefore(pod)
	return verdict.counts() && before >= *job.Spec.BackoffLimitPerIndex
}

// isLater tells whether a is the later one of two failed pods of an index.
func isLater(a, b *corev1.Pod) bool {
	countedA, ignoredA := failuresBefore(a)
	countedB, ignoredB := failuresBefore(b)
	return countedA+ignoredA >= countedB+ignoredB && !endedAt(a).Before(endedAt(b))
}

// indexesOf are the completion indexes of pods, of those that have one.
func indexesOf(pods []*corev1.Pod) []int {
	var list []int
	for _, pod := range pods {
		if index := indexOf(pod); index != noIndex {
			list = append(list, index)
		}
	}
	return list
}

func completions(job *batchv1.Job) int { return int(ptr.Deref(job.Spec.Completions, 0)) }
