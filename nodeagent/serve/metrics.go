package serve

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// resourceMetrics shows CPU and memory of the node, its pods and containers,
// under the names that metrics-server scrapes.
func (s *Server) resourceMetrics(w http.ResponseWriter, r *http.Request) {
	summary, err := s.cfg.Backend.Summary(r.Context())
	registry := prometheus.NewRegistry()
	registry.MustRegister(usage{summary: summary, failed: err != nil})
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
}

// usage gives the metrics of one summary.
type usage struct {
	summary *statsv1alpha1.Summary
	failed  bool
}

var (
	podLabels       = []string{"namespace", "pod"}
	containerLabels = []string{"container", "namespace", "pod"}

	scrapeError     = prometheus.NewDesc("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise", nil, nil)
	nodeCPU         = prometheus.NewDesc("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds", nil, nil)
	nodeMemory      = prometheus.NewDesc("node_memory_working_set_bytes", "Current working set of the node in bytes", nil, nil)
	podCPU          = prometheus.NewDesc("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", podLabels, nil)
	podMemory       = prometheus.NewDesc("pod_memory_working_set_bytes", "Current working set of the pod in bytes", podLabels, nil)
	containerCPU    = prometheus.NewDesc("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", containerLabels, nil)
	containerMemory = prometheus.NewDesc("container_memory_working_set_bytes", "Current working set of the container in bytes", containerLabels, nil)
	containerStart  = prometheus.NewDesc("container_start_time_seconds", "Start time of the container since unix epoch in seconds", containerLabels, nil)
)

// Describe sends nothing: what there is depends on the pods.
func (usage) Describe(chan<- *prometheus.Desc) {}

// Collect sends all metrics of the summary.
func (u usage) Collect(ch chan<- prometheus.Metric) {
	failed := 0.0
	if u.failed {
		failed = 1
	}
	ch <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, failed)
	if u.failed || u.summary == nil {
		return
	}
	sendCPU(ch, nodeCPU, u.summary.Node.CPU)
	sendMemory(ch, nodeMemory, u.summary.Node.Memory)
	for i := range u.summary.Pods {
		p := &u.summary.Pods[i]
		sendCPU(ch, podCPU, p.CPU, p.PodRef.Namespace, p.PodRef.Name)
		sendMemory(ch, podMemory, p.Memory, p.PodRef.Namespace, p.PodRef.Name)
		for j := range p.Containers {
			c := &p.Containers[j]
			labels := []string{c.Name, p.PodRef.Namespace, p.PodRef.Name}
			sendCPU(ch, containerCPU, c.CPU, labels...)
			sendMemory(ch, containerMemory, c.Memory, labels...)
			if !c.StartTime.IsZero() {
				ch <- prometheus.MustNewConstMetric(containerStart, prometheus.GaugeValue, float64(c.StartTime.UnixNano())/float64(time.Second), labels...)
			}
		}
	}
}

func sendCPU(ch chan<- prometheus.Metric, d *prometheus.Desc, cpu *statsv1alpha1.CPUStats, labels ...string) {
	if cpu == nil || cpu.UsageCoreNanoSeconds == nil {
		return
	}
	ch <- prometheus.NewMetricWithTimestamp(cpu.Time.Time, prometheus.MustNewConstMetric(d, prometheus.CounterValue,
		float64(*cpu.UsageCoreNanoSeconds)/float64(time.Second), labels...))
}

func sendMemory(ch chan<- prometheus.Metric, d *prometheus.Desc, memory *statsv1alpha1.MemoryStats, labels ...string) {
	if memory == nil || memory.WorkingSetBytes == nil {
		return
	}
	ch <- prometheus.NewMetricWithTimestamp(memory.Time.Time, prometheus.MustNewConstMetric(d, prometheus.GaugeValue,
		float64(*memory.WorkingSetBytes), labels...))
}
