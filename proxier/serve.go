package proxier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/proxier/model"
)

// listen starts the servers that are configured; they end with ctx.
func (p *Proxier) listen(ctx context.Context, running *sync.WaitGroup) (*healthPorts, error) {
	probes := http.NewServeMux()
	probes.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { p.serveHealth(w, true) })
	probes.HandleFunc("/livez", func(w http.ResponseWriter, _ *http.Request) { p.serveHealth(w, false) })
	insight := http.NewServeMux()
	insight.Handle("/metrics", promhttp.HandlerFor(p.metrics.registry, promhttp.HandlerOpts{}))
	insight.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { p.serveHealth(w, true) })
	insight.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		_, _ = fmt.Fprint(w, p.Mode())
	})
	for _, s := range []struct {
		what, addr string
		handler    http.Handler
	}{{"health checks", p.cfg.HealthzBindAddress, probes}, {"metrics", p.cfg.MetricsBindAddress, insight}} {
		if s.addr == "" {
			continue
		}
		l, err := listenIn(p.cfg.NetNS, s.addr)
		if err != nil {
			return nil, fmt.Errorf("serve %s: %w", s.what, err)
		}
		serve(ctx, running, l, s.handler)
	}
	return &healthPorts{proxier: p, running: running, servers: map[string]*healthPort{}}, nil
}

func listenIn(netNS, addr string) (l net.Listener, err error) {
	err = netns.Do(netNS, func() error {
		l, err = net.Listen("tcp", addr)
		return err
	})
	return l, err
}

// serve answers on l until ctx ends.
func serve(ctx context.Context, running *sync.WaitGroup, l net.Listener, h http.Handler) {
	s := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second}
	running.Go(func() {
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			klog.FromContext(ctx).Error(err, "Server ended", "address", l.Addr())
		}
	})
	running.Go(func() {
		<-ctx.Done()
		_ = s.Close()
	})
}

func (p *Proxier) serveHealth(w http.ResponseWriter, node bool) {
	now := time.Now()
	p.mu.Lock()
	h := p.health
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	updated := h.updated
	if h.healthy(now) {
		// All that changed was written in time: as good as written now.
		updated = now
	}
	code, total := http.StatusOK, p.metrics.livez
	if !h.healthy(now) || (node && !h.eligible) {
		code = http.StatusServiceUnavailable
	}
	if node {
		total = p.metrics.healthz
	}
	count(total, code)
	w.WriteHeader(code)
	if node {
		_, _ = fmt.Fprintf(w, `{"lastUpdated": %q,"currentTime": %q, "nodeEligible": %v}`, updated, now, h.eligible)
		return
	}
	_, _ = fmt.Fprintf(w, `{"lastUpdated": %q,"currentTime": %q}`, updated, now)
}

// healthPorts answers on the health-check node ports of services, where load
// balancers ask whether this node has endpoints.
type healthPorts struct {
	proxier *Proxier
	running *sync.WaitGroup
	servers map[string]*healthPort // by service
}

type healthPort struct {
	port   uint16
	cancel context.CancelFunc
	mu     sync.Mutex
	local  int
}

// apply follows changes of services.
func (h *healthPorts) apply(ctx context.Context, changes []model.Change) {
	for _, c := range changes {
		s := h.servers[c.Key]
		if s != nil && (c.Service == nil || c.Service.HealthCheck != s.port) {
			s.cancel()
			delete(h.servers, c.Key)
			s = nil
		}
		if c.Service == nil || c.Service.HealthCheck == 0 || h.proxier.cfg.Mode == ModeNone {
			continue
		}
		if s == nil {
			s = h.open(ctx, c.Key, c.Service.HealthCheck)
		}
		s.mu.Lock()
		s.local = c.Service.LocalReady
		s.mu.Unlock()
	}
}

func (h *healthPorts) open(ctx context.Context, key string, port uint16) *healthPort {
	ctx, cancel := context.WithCancel(ctx)
	s := &healthPort{port: port, cancel: cancel}
	h.servers[key] = s
	l, err := listenIn(h.proxier.cfg.NetNS, net.JoinHostPort("", strconv.Itoa(int(port))))
	if err != nil {
		klog.FromContext(ctx).Error(err, "Health-check node port is not served", "service", key, "port", port)
		return s
	}
	serve(ctx, h.running, l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { h.answer(w, key, s) }))
	return s
}

func (h *healthPorts) answer(w http.ResponseWriter, key string, s *healthPort) {
	s.mu.Lock()
	local := s.local
	s.mu.Unlock()
	h.proxier.mu.Lock()
	ok := h.proxier.health.healthy(time.Now())
	h.proxier.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
	if local == 0 || !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	namespace, name, _ := strings.Cut(key, "/")
	type service struct {
		Namespace string `json:"namespace"`
		Name      string `json:"name"`
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "\t")
	_ = e.Encode(struct {
		Service             service `json:"service"`
		LocalEndpoints      int     `json:"localEndpoints"`
		ServiceProxyHealthy bool    `json:"serviceProxyHealthy"`
	}{service{namespace, name}, local, ok})
}
