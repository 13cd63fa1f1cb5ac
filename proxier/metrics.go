package proxier

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/skiffcluster/skiff/proxier/model"
)

// metrics are a Proxier's own, with kube-proxy's names.
type metrics struct {
	registry                          *prometheus.Registry
	sync, full, programming           prometheus.Histogram
	last, queued                      prometheus.Gauge
	failures                          prometheus.Counter
	serviceChanges, endpointChanges   prometheus.Counter
	servicesPending, endpointsPending prometheus.Gauge
	noLocal                           *prometheus.GaugeVec
	healthz, livez                    *prometheus.CounterVec
	fallback                          *prometheus.GaugeVec
	withoutInternal, withoutExternal  map[string]int // services → ports without a local endpoint
	triggers                          []time.Time    // of changes that wait; guarded by Proxier.mu
	pendingServices, pendingEndpoints int            // guarded by Proxier.mu
}

func newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), withoutInternal: map[string]int{}, withoutExternal: map[string]int{}}
	times := prometheus.ExponentialBuckets(0.001, 2, 15)
	histogram := func(name, help string, buckets []float64) prometheus.Histogram {
		h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "kubeproxy_" + name, Help: help, Buckets: buckets})
		m.registry.MustRegister(h)
		return h
	}
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubeproxy_" + name, Help: help})
		m.registry.MustRegister(g)
		return g
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(c)
		return c
	}
	labelled := func(name, help string, labels ...string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(g)
		return g
	}
	m.sync = histogram("sync_proxy_rules_duration_seconds", "Time that writing changes took.", times)
	m.full = histogram("sync_full_proxy_rules_duration_seconds", "Time that full checks took.", times)
	m.programming = histogram("network_programming_duration_seconds", "Time from a change of a pod or service until the kernel knew.",
		[]float64{0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 4, 5, 10, 20, 30, 60, 120, 300})
	m.last = gauge("sync_proxy_rules_last_timestamp_seconds", "Time of the last successful sync.")
	m.queued = gauge("sync_proxy_rules_last_queued_timestamp_seconds", "Time when a sync was last asked for.")
	m.servicesPending = gauge("sync_proxy_rules_service_changes_pending", "Changes of services that wait.")
	m.endpointsPending = gauge("sync_proxy_rules_endpoint_changes_pending", "Changes of endpoints that wait.")
	m.failures = counter("kubeproxy_sync_proxy_rules_failures_total", "Syncs that failed.").WithLabelValues()
	m.serviceChanges = counter("kubeproxy_sync_proxy_rules_service_changes_total", "Changes of services.").WithLabelValues()
	m.endpointChanges = counter("kubeproxy_sync_proxy_rules_endpoint_changes_total", "Changes of endpoints.").WithLabelValues()
	m.healthz = counter("kubeproxy_proxy_healthz_total", "Answers of /healthz by code.", "code")
	m.livez = counter("kubeproxy_proxy_livez_total", "Answers of /livez by code.", "code")
	m.noLocal = labelled("kubeproxy_sync_proxy_rules_no_local_endpoints_total", "Service ports with policy Local and no endpoint here.", "traffic_policy")
	m.fallback = labelled("skiff_proxy_mode_fallback", "1 where nftables stands in for IPVS, and why.", "reason")
	return m
}

// observed counts a change that waits; Proxier.mu is held.
func (m *metrics) observed(old, now any, when time.Time) {
	o := now
	if o == nil {
		o = old
	}
	switch o := o.(type) {
	case *corev1.Service:
		m.serviceChanges.Inc()
		m.pendingServices++
	case *discoveryv1.EndpointSlice:
		m.endpointChanges.Inc()
		m.pendingEndpoints++
		if t, err := time.Parse(time.RFC3339Nano, o.Annotations[corev1.EndpointsLastChangeTriggerTime]); err == nil && now != nil {
			m.triggers = append(m.triggers, t)
		}
	default:
		return
	}
	m.servicesPending.Set(float64(m.pendingServices))
	m.endpointsPending.Set(float64(m.pendingEndpoints))
	m.queued.Set(float64(when.UnixNano()) / float64(time.Second))
}

// take returns when what is being written changed; Proxier.mu is held.
func (m *metrics) take() []time.Time {
	t := m.triggers
	m.triggers, m.pendingServices, m.pendingEndpoints = nil, 0, 0
	m.servicesPending.Set(0)
	m.endpointsPending.Set(0)
	return t
}

// written notes changes that the kernel knows.
func (m *metrics) written(changes []model.Change, triggers []time.Time, now time.Time) {
	for _, t := range triggers {
		m.programming.Observe(now.Sub(t).Seconds())
	}
	for _, c := range changes {
		delete(m.withoutInternal, c.Key)
		delete(m.withoutExternal, c.Key)
		if c.Service == nil {
			continue
		}
		for i := range c.Service.Ports {
			p := &c.Service.Ports[i]
			for j := range p.Frontends {
				switch f := &p.Frontends[j]; {
				case !f.Local || len(p.Local) > 0 || len(p.Cluster) == 0:
				case f.Kind == model.ClusterIP:
					m.withoutInternal[c.Key]++
				default:
					m.withoutExternal[c.Key]++
				}
			}
		}
	}
	m.noLocal.WithLabelValues("internal").Set(float64(len(m.withoutInternal)))
	m.noLocal.WithLabelValues("external").Set(float64(len(m.withoutExternal)))
}

func count(c *prometheus.CounterVec, code int) { c.WithLabelValues(strconv.Itoa(code)).Inc() }
