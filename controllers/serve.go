package controllers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"k8s.io/component-base/metrics/legacyregistry"
	_ "k8s.io/component-base/metrics/prometheus/workqueue" // the queues' metrics
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// gatherers have what /metrics tells: controller-runtime's metrics, and the
// queues' under the names of kube-controller-manager, which its library of
// metrics keeps for the whole process.
var gatherers = prometheus.Gatherers{
	families(metrics.Registry, func(name string) bool { return !strings.HasPrefix(name, "workqueue_") }),
	families(legacyregistry.DefaultGatherer, func(name string) bool { return strings.HasPrefix(name, "workqueue_") }),
}

// families are those of g whose names are wanted.
func families(g prometheus.Gatherer, wanted func(name string) bool) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		all, err := g.Gather()
		return slices.DeleteFunc(all, func(f *dto.MetricFamily) bool { return !wanted(f.GetName()) }), err
	})
}

// serve listens on the health and metrics addresses, for as long as the room
// runs, leading or not. The returned function stops it.
func (c *Controllers) serve(ctx context.Context) (func(), error) {
	muxes := map[string]*http.ServeMux{}
	handle := func(address string, add func(*http.ServeMux)) {
		if address == "" || address == "0" {
			return
		}
		if muxes[address] == nil {
			muxes[address] = http.NewServeMux()
		}
		add(muxes[address])
	}
	handle(c.cfg.HealthBindAddress, func(mux *http.ServeMux) {
		mux.Handle("/healthz", healthz.CheckHandler{Checker: healthz.Ping})
		mux.Handle("/livez", healthz.CheckHandler{Checker: healthz.Ping})
		mux.Handle("/readyz", healthz.CheckHandler{Checker: c.isReady})
	})
	handle(c.cfg.MetricsBindAddress, func(mux *http.ServeMux) {
		mux.Handle("/metrics", promhttp.HandlerFor(gatherers, promhttp.HandlerOpts{}))
	})

	var stops []func()
	stop := func() {
		for _, each := range stops {
			each()
		}
	}
	for address, mux := range muxes {
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			stop()
			return nil, fmt.Errorf("listen for health and metrics: %w", err)
		}
		server := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second}
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				klog.FromContext(ctx).Error(err, "Stopped serving health and metrics", "address", address)
			}
		}()
		stops = append(stops, func() {
			_ = server.Close() // closing the listener is all that can fail, and it ends with the process at worst
			<-done
		})
	}
	return stop, nil
}
