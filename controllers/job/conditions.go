package job

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func newCondition(kind batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) batchv1.JobCondition {
	return batchv1.JobCondition{
		Type: kind, Status: status, Reason: reason, Message: message,
		LastProbeTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
}

// findTrue returns the condition of a type if it is there and true, else nil.
func findTrue(list []batchv1.JobCondition, kind batchv1.JobConditionType) *batchv1.JobCondition {
	for i := range list {
		if list[i].Type == kind && list[i].Status == corev1.ConditionTrue {
			return &list[i]
		}
	}
	return nil
}

// isFinished tells whether a Job is Complete or Failed.
func isFinished(job *batchv1.Job) bool {
	return findTrue(job.Status.Conditions, batchv1.JobComplete) != nil || findTrue(job.Status.Conditions, batchv1.JobFailed) != nil
}

// set returns the list with a condition in it, and whether that is a change.
// What was never there is not added as false.
func set(list []batchv1.JobCondition, condition batchv1.JobCondition) ([]batchv1.JobCondition, bool) {
	at := slices.IndexFunc(list, func(c batchv1.JobCondition) bool { return c.Type == condition.Type })
	if at < 0 {
		if condition.Status == corev1.ConditionFalse {
			return list, false
		}
		return append(slices.Clone(list), condition), true
	}
	if was := list[at]; was.Status == condition.Status && was.Reason == condition.Reason && was.Message == condition.Message {
		return list, false
	}
	list = slices.Clone(list)
	list[at] = condition
	return list, true
}
