package cronjob

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// creationSkew is kube-controller-manager's stable metric of CronJobs. A
// process has it once, whatever the number of its clusters.
var creationSkew = prometheus.NewHistogram(prometheus.HistogramOpts{
	Name: "cronjob_controller_job_creation_skew_duration_seconds", Help: "How late Jobs are created.",
	Buckets: prometheus.ExponentialBuckets(1, 2, 10),
})

var registerMetrics = sync.OnceFunc(func() { metrics.Registry.MustRegister(creationSkew) })
