package job

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// verdict says whether a Job's outcome is certain: the condition FailureTarget
// or SuccessCriteriaMet, or nil while it goes on. The pods that are still
// active are then no longer needed.
func verdict(job *batchv1.Job, pods []*corev1.Pod, t tally, now time.Time) *batchv1.JobCondition {
	for _, kind := range []batchv1.JobConditionType{batchv1.JobSuccessCriteriaMet, batchv1.JobFailureTarget} {
		if already := findTrue(job.Status.Conditions, kind); already != nil {
			return already
		}
	}
	fails := func(reason, message string) *batchv1.JobCondition {
		return ptr.To(newCondition(batchv1.JobFailureTarget, corev1.ConditionTrue, reason, message, now))
	}
	left, hasDeadline := deadline(job, now)
	switch message := forbiddenFailure(job, pods); {
	case message != "":
		return fails(batchv1.JobReasonPodFailurePolicy, message)
	case t.failed > backoffLimit(job) || restartsTooOften(job, pods):
		return fails(batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case hasDeadline && left <= 0:
		return fails(batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	}
	if !isIndexed(job) {
		return nil
	}
	if failed := t.failedIndexes.count(); failed > 0 {
		switch {
		case job.Spec.MaxFailedIndexes != nil && failed > int(*job.Spec.MaxFailedIndexes):
			return fails(batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
		case failed+t.succeededIndexes.count() >= completions(job):
			return fails(batchv1.JobReasonFailedIndexes, "Job has failed indexes")
		}
	}
	if message, met := matchSuccess(job.Spec.SuccessPolicy, completions(job), t.succeededIndexes); met {
		return ptr.To(newCondition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue, batchv1.JobReasonSuccessPolicy, message, now))
	}
	return nil
}

// reached says whether a Job that goes on has all that it wants by now, with
// active pods left: then it is SuccessCriteriaMet. Without spec.completions one
// success is enough, but those that still run may end by themselves.
func reached(job *batchv1.Job, t tally, active int, now time.Time) *batchv1.JobCondition {
	enough := t.succeeded > 0
	if job.Spec.Completions != nil {
		enough = int(t.succeeded) >= completions(job)
	}
	if !enough || active > 0 {
		return nil
	}
	return ptr.To(newCondition(batchv1.JobSuccessCriteriaMet, corev1.ConditionTrue,
		batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods", now))
}

// forbiddenFailure returns the message about a failed pod that fails the Job.
func forbiddenFailure(job *batchv1.Job, pods []*corev1.Pod) string {
	if job.Spec.PodFailurePolicy == nil {
		return ""
	}
	for _, pod := range pods {
		if !hasFailed(job, pod) {
			continue
		}
		if f := judge(job.Spec.PodFailurePolicy, pod); f.message != "" {
			return f.message
		}
	}
	return ""
}

// restartsTooOften applies the backoff limit to containers that are restarted
// in place, whose failures are no failures of pods.
func restartsTooOften(job *batchv1.Job, pods []*corev1.Pod) bool {
	if job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var sum int32
	for _, pod := range pods {
		if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
			continue
		}
		for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
			for i := range list {
				sum += list[i].RestartCount
			}
		}
	}
	return sum >= max(1, backoffLimit(job))
}

// deadline is how much of activeDeadlineSeconds is left; not ok when there is
// none or time does not run.
func deadline(job *batchv1.Job, now time.Time) (left time.Duration, ok bool) {
	if job.Spec.ActiveDeadlineSeconds == nil || job.Status.StartTime == nil || isSuspended(job) {
		return 0, false
	}
	return job.Status.StartTime.Add(time.Duration(*job.Spec.ActiveDeadlineSeconds) * time.Second).Sub(now), true
}

// backoffLimit is spec.backoffLimit; the server's default is 6.
func backoffLimit(job *batchv1.Job) int32 { return ptr.Deref(job.Spec.BackoffLimit, 6) }
