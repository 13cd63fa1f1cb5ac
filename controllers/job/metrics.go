package job

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// kube-controller-manager's stable metrics of Jobs, with its names, labels and
// buckets. A process has them once, whatever the number of its clusters.
var (
	syncDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "job_controller_job_sync_duration_seconds", Help: "Time of a Job's turn.",
		Buckets: prometheus.ExponentialBuckets(0.004, 2, 15),
	}, []string{"completion_mode", "result", "action"})
	syncs = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "job_controller_job_syncs_total", Help: "Turns of Jobs.",
	}, []string{"completion_mode", "result", "action"})
	jobsFinished = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "job_controller_jobs_finished_total", Help: "Jobs that have ended.",
	}, []string{"completion_mode", "result", "reason"})
	podsFinished = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "job_controller_job_pods_finished_total", Help: "Pods that have ended and are counted.",
	}, []string{"completion_mode", "result"})
)

var registerMetrics = sync.OnceFunc(func() { metrics.Registry.MustRegister(syncDuration, syncs, jobsFinished, podsFinished) })

// What a turn has done, as the label action says it.
const (
	reconciling = "reconciling"
	podsCreated = "pods_created"
	podsDeleted = "pods_deleted"
)

func completionMode(job *batchv1.Job) string {
	return string(ptr.Deref(job.Spec.CompletionMode, batchv1.NonIndexedCompletion))
}

func measureTurn(s *scope, took time.Duration, err error) {
	result := "success"
	if err != nil {
		result = "error"
	}
	labels := []string{completionMode(s.job), result, s.action}
	syncDuration.WithLabelValues(labels...).Observe(took.Seconds())
	syncs.WithLabelValues(labels...).Inc()
}

// measureCounted takes in the pods that a turn has counted.
func measureCounted(job *batchv1.Job, before batchv1.JobStatus) {
	mode := completionMode(job)
	if n := job.Status.Succeeded - before.Succeeded; n > 0 {
		podsFinished.WithLabelValues(mode, "succeeded").Add(float64(n))
	}
	if n := job.Status.Failed - before.Failed; n > 0 {
		podsFinished.WithLabelValues(mode, "failed").Add(float64(n))
	}
}

func measureEnd(job *batchv1.Job, end *batchv1.JobCondition) {
	result := "succeeded"
	if end.Type == batchv1.JobFailed {
		result = "failed"
	}
	jobsFinished.WithLabelValues(completionMode(job), result, end.Reason).Inc()
}
