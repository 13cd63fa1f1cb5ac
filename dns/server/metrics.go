package server

import (
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts answers, with CoreDNS's names.
type Metrics struct {
	responses *prometheus.CounterVec
	duration  prometheus.Histogram
}

// NewMetrics returns metrics that are registered with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		responses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coredns_dns_responses_total", Help: "Answers by response code.",
		}, []string{"rcode"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "coredns_dns_request_duration_seconds", Help: "Time that answers took.",
			Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
		}),
	}
	r.MustRegister(m.responses, m.duration)
	return m
}

func (m *Metrics) observe(reply *dns.Msg, took time.Duration) {
	if m == nil {
		return
	}
	m.responses.WithLabelValues(dns.RcodeToString[reply.Rcode]).Inc()
	m.duration.Observe(took.Seconds())
}
