package node

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// evictions is kube-controller-manager's stable metric of nodes that are given
// up. A process has it once, whatever the number of its clusters.
var evictions = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "node_collector_evictions_total", Help: "Nodes whose pods were evicted since this instance started.",
}, []string{"zone"})

var registerMetrics = sync.OnceFunc(func() { metrics.Registry.MustRegister(evictions) })
