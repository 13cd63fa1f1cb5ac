package dns

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"github.com/skiffcluster/skiff/internal/netns"
)

// newReloadFailed counts Corefiles that were not taken, by CoreDNS's name.
func newReloadFailed() prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{
		Name: "coredns_reload_failed_total", Help: "Corefiles that were not taken.",
	})
}

// serveMetrics serves what CoreDNS's plugins count, which is of all servers of
// the process, and what this server does.
func (s *Server) serveMetrics(ctx context.Context, running *sync.WaitGroup) error {
	if s.cfg.MetricsBindAddress == "" {
		return nil
	}
	var l net.Listener
	err := netns.Do(s.cfg.NetNS, func() (err error) {
		l, err = net.Listen("tcp", s.cfg.MetricsBindAddress)
		return err
	})
	if err != nil {
		return fmt.Errorf("serve metrics: %w", err)
	}
	own := prometheus.NewRegistry()
	own.MustRegister(s.reloadFailed)
	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(prometheus.Gatherers{own, prometheus.GathererFunc(gatherCoreDNS)}, promhttp.HandlerOpts{}))
	h := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
	running.Go(func() { _ = h.Serve(l) }) // ends with the Close below
	running.Go(func() {
		<-ctx.Done()
		_ = h.Close()
	})
	return nil
}

// gatherCoreDNS leaves out what other parts of the process count in the same
// registry.
func gatherCoreDNS() ([]*dto.MetricFamily, error) {
	all, err := prometheus.DefaultGatherer.Gather()
	var out []*dto.MetricFamily
	for _, f := range all {
		if n := f.GetName(); strings.HasPrefix(n, "coredns_") || strings.HasPrefix(n, "go_") || strings.HasPrefix(n, "process_") {
			out = append(out, f)
		}
	}
	return out, err
}
