package ttlafterfinished

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestExpiry(t *testing.T) {
	end := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	finished := func(kind batchv1.JobConditionType, status corev1.ConditionStatus) *batchv1.Job {
		job := &batchv1.Job{}
		job.Spec.TTLSecondsAfterFinished = new(int32(100))
		job.Status.Conditions = []batchv1.JobCondition{{Type: kind, Status: status, LastTransitionTime: metav1.NewTime(end)}}
		return job
	}
	forever := finished(batchv1.JobComplete, corev1.ConditionTrue)
	forever.Spec.TTLSecondsAfterFinished = nil
	deleted := finished(batchv1.JobComplete, corev1.ConditionTrue)
	deleted.DeletionTimestamp = &metav1.Time{Time: end}
	tests := []struct {
		name string
		job  *batchv1.Job
		ok   bool
	}{
		{"a complete job", finished(batchv1.JobComplete, corev1.ConditionTrue), true},
		{"a failed job", finished(batchv1.JobFailed, corev1.ConditionTrue), true},
		{"a job about to fail", finished(batchv1.JobFailureTarget, corev1.ConditionTrue), false},
		{"a condition that is false", finished(batchv1.JobComplete, corev1.ConditionFalse), false},
		{"a job without a time", forever, false},
		{"a job that is being deleted", deleted, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			at, ok := expiry(test.job)
			if ok != test.ok || (ok && !at.Equal(end.Add(100*time.Second))) {
				t.Errorf("got %s, %v", at, ok)
			}
		})
	}
}
