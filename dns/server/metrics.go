package server

import (
	"net"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

// serverLabel is how CoreDNS names a server in its metrics.
const serverLabel = "dns://:53"

// Metrics counts what happens, with CoreDNS's names and labels. A nil Metrics
// counts nothing.
type Metrics struct {
	requests, responses   *prometheus.CounterVec
	duration              *prometheus.HistogramVec
	requestSize, respSize *prometheus.HistogramVec
	hits, misses          *prometheus.CounterVec
	proxied               *prometheus.HistogramVec
	rejects, reloadFailed prometheus.Counter
}

// NewMetrics returns metrics that are registered with r.
func NewMetrics(r prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "coredns_" + name, Help: help}, labels)
		r.MustRegister(c)
		return c
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		h := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "coredns_" + name, Help: help, Buckets: buckets}, labels)
		r.MustRegister(h)
		return h
	}
	times := prometheus.ExponentialBuckets(0.00025, 2, 16)
	sizes := []float64{0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16e3, 32e3, 48e3, 64e3}
	return &Metrics{
		requests:     counter("dns_requests_total", "Queries.", "server", "zone", "view", "proto", "family", "type"),
		responses:    counter("dns_responses_total", "Answers by response code.", "server", "zone", "view", "rcode", "plugin"),
		duration:     histogram("dns_request_duration_seconds", "Time that answers took.", times, "server", "zone", "view"),
		requestSize:  histogram("dns_request_size_bytes", "Size of queries.", sizes, "server", "zone", "view", "proto"),
		respSize:     histogram("dns_response_size_bytes", "Size of answers.", sizes, "server", "zone", "view", "proto"),
		hits:         counter("cache_hits_total", "Answers from the cache.", "server", "type", "zones", "view"),
		misses:       counter("cache_misses_total", "Queries that the cache had no answer to.", "server", "zones", "view"),
		proxied:      histogram("proxy_request_duration_seconds", "Time that upstream servers took.", times, "proxy_name", "to", "rcode"),
		rejects:      counter("forward_max_concurrent_rejects_total", "Queries refused as too many were under way.").WithLabelValues(),
		reloadFailed: counter("reload_failed_total", "Corefiles that were not taken.").WithLabelValues(),
	}
}

func (m *Metrics) observe(req, reply *dns.Msg, zone string, udp bool, client net.Addr, took time.Duration) {
	if m == nil {
		return
	}
	proto, family, qtype := "tcp", "1", "other"
	if udp {
		proto = "udp"
	}
	if host, _, err := net.SplitHostPort(client.String()); err == nil && net.ParseIP(host).To4() == nil {
		family = "2"
	}
	if len(req.Question) == 1 {
		// Types that nobody knows share a label, so that a client cannot make many.
		if name, ok := dns.TypeToString[req.Question[0].Qtype]; ok {
			qtype = name
		}
	}
	m.requests.WithLabelValues(serverLabel, zone, "", proto, family, qtype).Inc()
	m.responses.WithLabelValues(serverLabel, zone, "", dns.RcodeToString[reply.Rcode], "").Inc()
	m.duration.WithLabelValues(serverLabel, zone, "").Observe(took.Seconds())
	m.requestSize.WithLabelValues(serverLabel, zone, "", proto).Observe(float64(req.Len()))
	m.respSize.WithLabelValues(serverLabel, zone, "", proto).Observe(float64(reply.Len()))
}

func (m *Metrics) hit(answer *dns.Msg) {
	if m == nil {
		return
	}
	kind := "success"
	if len(answer.Answer) == 0 {
		kind = "denial"
	}
	m.hits.WithLabelValues(serverLabel, kind, ".", "").Inc()
}

func (m *Metrics) miss() {
	if m != nil {
		m.misses.WithLabelValues(serverLabel, ".", "").Inc()
	}
}

func (m *Metrics) rejected() {
	if m != nil {
		m.rejects.Inc()
	}
}

func (m *Metrics) asked(to string, answer *dns.Msg, took time.Duration) {
	if m == nil {
		return
	}
	rcode := "SERVFAIL"
	if answer != nil {
		rcode = dns.RcodeToString[answer.Rcode]
	}
	m.proxied.WithLabelValues("forward", to, rcode).Observe(took.Seconds())
}

// ReloadFailed counts a Corefile that was not taken.
func (m *Metrics) ReloadFailed() {
	if m != nil {
		m.reloadFailed.Inc()
	}
}
