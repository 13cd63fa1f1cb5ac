package scheduler

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/skiffcluster/skiff/scheduler/cycle"
	"github.com/skiffcluster/skiff/scheduler/queue"
)

// metrics have kube-scheduler's names. Nil metrics count nothing.
type metrics struct {
	profile  string
	attempts *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	sli      *prometheus.HistogramVec
	tries    prometheus.Histogram
	preempts prometheus.Counter
	victims  prometheus.Histogram
}

func newMetrics(r prometheus.Registerer, q *queue.Queue, profile string) (*metrics, error) {
	if r == nil {
		return nil, nil
	}
	m := &metrics{
		profile: profile,
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scheduler_schedule_attempts_total",
			Help: "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
		}, []string{"profile", "result"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "scheduler_scheduling_attempt_duration_seconds",
			Help:    "Scheduling attempt latency in seconds, with the bind.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"profile", "result"}),
		sli: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "scheduler_pod_scheduling_sli_duration_seconds",
			Help:    "Time from when a pod entered the queue until it was bound, in seconds.",
			Buckets: prometheus.ExponentialBuckets(0.01, 2, 20),
		}, []string{"attempts"}),
		tries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "scheduler_pod_scheduling_attempts",
			Help:    "Number of attempts to successfully schedule a pod.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 5),
		}),
		preempts: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "scheduler_preemption_attempts_total",
			Help: "Number of preemptions that were carried out.",
		}),
		victims: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "scheduler_preemption_victims",
			Help:    "Number of victims of a preemption.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 7),
		}),
	}
	for _, c := range []prometheus.Collector{m.attempts, m.latency, m.sli, m.tries, m.preempts, m.victims, &pending{queue: q}} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// attempt counts a pod's try; err is how it ended.
func (m *metrics) attempt(err error, took time.Duration) {
	if m == nil {
		return
	}
	var unfit *cycle.Unfit
	result := "scheduled"
	switch {
	case errors.As(err, &unfit) || errors.Is(err, cycle.ErrNoNodes):
		result = "unschedulable"
	case err != nil:
		result = "error"
	}
	m.attempts.WithLabelValues(m.profile, result).Inc()
	m.latency.WithLabelValues(m.profile, result).Observe(took.Seconds())
}

// scheduled counts a pod that was bound.
func (m *metrics) scheduled(item *queue.Item, took time.Duration) {
	if m == nil {
		return
	}
	m.tries.Observe(float64(item.Attempts))
	m.sli.WithLabelValues(strconv.Itoa(min(item.Attempts, 16))).Observe(took.Seconds())
}

func (m *metrics) preempted(victims int) {
	if m == nil {
		return
	}
	m.preempts.Inc()
	m.victims.Observe(float64(victims))
}

// pending counts the pods that wait, when it is asked.
type pending struct{ queue *queue.Queue }

var pendingDesc = prometheus.NewDesc("scheduler_pending_pods",
	"Number of pending pods, by the queue they are in: active, backoff, unschedulable or gated.", []string{"queue"}, nil)

// Describe implements prometheus.Collector.
func (p *pending) Describe(ch chan<- *prometheus.Desc) { ch <- pendingDesc }

// Collect implements prometheus.Collector.
func (p *pending) Collect(ch chan<- prometheus.Metric) {
	l := p.queue.Lengths()
	for name, n := range map[string]int{"active": l.Active, "backoff": l.Backoff, "unschedulable": l.Unschedulable, "gated": l.Gated} {
		ch <- prometheus.MustNewConstMetric(pendingDesc, prometheus.GaugeValue, float64(n), name)
	}
}
