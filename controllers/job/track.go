package job

import (
	"cmp"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
)

// mostUncounted is how many pods a status names at a time, so that it stays
// below 20 KB. It is upstream's number.
const mostUncounted = 500

// countPlan is how the ends of pods get into the status: it names them, then
// they lose their finalizers, then the counters take them in.
type countPlan struct {
	status  batchv1.JobStatus
	release []*corev1.Pod

	// tracked are the pods that have the finalizer still.
	tracked sets.Set[types.UID]

	// full means that there are more pods to count in another turn.
	full bool
}

// planCount says what the status should name before finalizers are removed, and
// from which pods. Target is the Job's outcome, or nil.
func planCount(job *batchv1.Job, pods []*corev1.Pod, t tally, target *batchv1.JobCondition) countPlan {
	plan := countPlan{status: *job.Status.DeepCopy(), tracked: sets.New[types.UID]()}
	if plan.status.UncountedTerminatedPods == nil {
		plan.status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	for _, pod := range pods {
		if isTracked(pod) {
			plan.tracked.Insert(pod.UID)
		}
	}
	settle(&plan.status, plan.tracked)
	plan.nameEnded(job, pods, t, target)
	if isIndexed(job) {
		plan.status.Succeeded = int32(t.succeededIndexes.count())
		plan.status.CompletedIndexes = t.succeededIndexes.String()
		plan.status.FailedIndexes = nil
		if limitsIndexes(job) {
			plan.status.FailedIndexes = ptr.To(t.failedIndexes.String())
		}
	}
	if target != nil && findTrue(plan.status.Conditions, target.Type) == nil {
		plan.status.Conditions = append(plan.status.Conditions, *target)
	}
	return plan
}

// nameEnded names the pods that have ended and are not counted, and chooses
// those whose finalizer may go.
func (plan *countPlan) nameEnded(job *batchv1.Job, pods []*corev1.Pod, t tally, target *batchv1.JobCondition) {
	uncounted := plan.status.UncountedTerminatedPods
	known := parseIndexes(job.Status.CompletedIndexes, completions(job))
	newIndexes := 0
	pods = slices.SortedFunc(slices.Values(pods), func(a, b *corev1.Pod) int { return cmp.Compare(indexOf(a), indexOf(b)) })
	for _, pod := range pods {
		if !isTracked(pod) || !mayRelease(job, pod, t, target) {
			continue
		}
		plan.release = append(plan.release, pod)
		named := slices.Contains(uncounted.Failed, pod.UID) || slices.Contains(uncounted.Succeeded, pod.UID)
		// Once a Job fails, all that have not ended count as failed.
		failed := hasFailed(job, pod) || (target != nil && target.Type == batchv1.JobFailureTarget)
		switch {
		case named || !isValid(job, pod):
		case pod.Status.Phase == corev1.PodSucceeded && isIndexed(job):
			if !known.has(indexOf(pod)) { // the index itself says that it is counted
				newIndexes++
			}
		case pod.Status.Phase == corev1.PodSucceeded:
			uncounted.Succeeded = append(uncounted.Succeeded, pod.UID)
		case failed && judge(job.Spec.PodFailurePolicy, pod).counts():
			uncounted.Failed = append(uncounted.Failed, pod.UID)
		}
		if newIndexes+len(uncounted.Succeeded)+len(uncounted.Failed) >= mostUncounted {
			plan.full = true
			return
		}
	}
}

// mayRelease tells whether a pod's end can be counted: it has ended, or the Job
// has. The last failed pod of an index stays until it has a successor.
func mayRelease(job *batchv1.Job, pod *corev1.Pod, t tally, target *batchv1.JobCondition) bool {
	if job.DeletionTimestamp != nil || target != nil || pod.Status.Phase == corev1.PodSucceeded {
		return true
	}
	last := t.last[indexOf(pod)]
	return hasFailed(job, pod) && (last == nil || last.UID != pod.UID)
}

// settle counts the named pods that have lost their finalizer, and names them
// no more.
func settle(status *batchv1.JobStatus, tracked sets.Set[types.UID]) {
	uncounted := status.UncountedTerminatedPods
	gone := func(uid types.UID) bool { return !tracked.Has(uid) }
	succeeded, failed := len(uncounted.Succeeded), len(uncounted.Failed)
	uncounted.Succeeded = slices.DeleteFunc(uncounted.Succeeded, gone)
	uncounted.Failed = slices.DeleteFunc(uncounted.Failed, gone)
	status.Succeeded += int32(succeeded - len(uncounted.Succeeded))
	status.Failed += int32(failed - len(uncounted.Failed))
	if len(uncounted.Succeeded) == 0 {
		uncounted.Succeeded = nil
	}
	if len(uncounted.Failed) == 0 {
		uncounted.Failed = nil
	}
}

// finish adds the condition that ends a Job, if all its pods are counted and
// gone, and returns that condition.
func finish(status *batchv1.JobStatus, target *batchv1.JobCondition, now time.Time) *batchv1.JobCondition {
	uncounted := status.UncountedTerminatedPods
	if target == nil || len(uncounted.Succeeded)+len(uncounted.Failed) > 0 || ptr.Deref(status.Terminating, 0) > 0 || status.Active > 0 {
		return nil
	}
	kind := batchv1.JobFailed
	if target.Type == batchv1.JobSuccessCriteriaMet {
		kind = batchv1.JobComplete
		status.CompletionTime = ptr.To(metav1.NewTime(now))
	}
	end := newCondition(kind, corev1.ConditionTrue, target.Reason, target.Message, now)
	status.Conditions, _ = set(status.Conditions, end)
	return &end
}
