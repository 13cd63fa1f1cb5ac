package apiserver

import (
	"context"
	"sync"
	"time"

	etcdmetrics "k8s.io/apiserver/pkg/storage/etcd3/metrics"
	"k8s.io/apiserver/pkg/util/feature"
	_ "k8s.io/component-base/metrics/prometheus/version" // kubernetes_build_info
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/apiserver/aggregation"
)

// countEvery is how often the objects of each resource are counted for
// apiserver_resource_objects; kube-apiserver's --etcd-count-metric-poll-period.
const countEvery = time.Minute

// processMetrics are those that a process has once.
var processMetrics = sync.OnceValue(func() error {
	feature.DefaultMutableFeatureGate.AddMetrics()
	return aggregation.RegisterMetrics()
})

// measure keeps the metrics that nothing else does. Without a socket nobody
// reads them.
func (s *Server) measure() {
	if s.config.Listener == nil {
		return
	}
	s.beside = append(s.beside, func(ctx context.Context) {
		select {
		case <-s.ready:
		case <-ctx.Done():
			return
		}
		if err := processMetrics(); err != nil {
			klog.FromContext(ctx).Error(err, "Metrics are not registered")
		}
		tick := time.NewTicker(countEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			for gr, r := range s.resources {
				if r.Kind.StorageResource != gr {
					continue // another's objects
				}
				stats, err := r.Store.Storage.Storage.Stats(ctx)
				if ctx.Err() == nil {
					etcdmetrics.UpdateStoreStats(gr, stats, err)
				}
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
}
