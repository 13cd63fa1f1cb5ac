package dns

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/dns/corefile"
	"github.com/skiffcluster/skiff/dns/records"
	"github.com/skiffcluster/skiff/internal/netns"
)

// DefaultClusterDomain is Kubernetes' default.
const DefaultClusterDomain = "cluster.local"

// DefaultMetricsBindAddress is CoreDNS's port, for the command line: an empty
// address in Config serves nothing.
const DefaultMetricsBindAddress = "127.0.0.1:9153"

// defaultResolvConf names the node's own DNS servers.
const defaultResolvConf = "/etc/resolv.conf"

// Config configures a Server.
type Config struct {
	// REST is how the API server is reached.
	REST *rest.Config
	// ListenAddresses are answered on by UDP and TCP, such as 10.96.0.10:53.
	ListenAddresses []string
	// ClusterDomain is DefaultClusterDomain when empty.
	ClusterDomain string
	// Upstreams are asked where the Corefile forwards to /etc/resolv.conf, as
	// address or address:port. When nil they are those of ResolvConf.
	Upstreams []string
	// ResolvConf is read instead of /etc/resolv.conf.
	ResolvConf string
	// MetricsBindAddress serves /metrics; empty for none.
	MetricsBindAddress string
	// NetNS is the path of the network namespace to serve; empty for the
	// process's own. Whether an upstream server that failed is well again is
	// tried from the process's own namespace in any case.
	NetNS string
}

// Server is the DNS server of one node.
type Server struct {
	cfg                Config
	client             kubernetes.Interface
	zone               *records.Zone
	synced, podsSynced atomic.Bool
	pods               sync.Once // starts the watch of pods when a Corefile asks for it
	ready              chan struct{}
	loops              loops
	reloadFailed       prometheus.Counter

	chain    atomic.Pointer[corefile.Chain] // answers
	changing sync.Mutex                     // held while chain is replaced
	inForce  string                         // the Corefile of chain

	mu        sync.Mutex
	listening []string
}

// New checks the configuration and returns a Server that is not running yet.
func New(cfg Config) (*Server, error) {
	if cfg.REST == nil {
		return nil, errors.New("dns: REST is not set")
	}
	if len(cfg.ListenAddresses) == 0 {
		return nil, errors.New("dns: ListenAddresses is empty")
	}
	if cfg.ClusterDomain == "" {
		cfg.ClusterDomain = DefaultClusterDomain
	}
	if _, ok := dns.IsDomainName(cfg.ClusterDomain); !ok {
		return nil, fmt.Errorf("cluster domain %q is no domain name", cfg.ClusterDomain)
	}
	var own []netip.Addr
	for _, a := range cfg.ListenAddresses {
		ap, err := netip.ParseAddrPort(a)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: want one such as 10.96.0.10:53: %w", a, err)
		}
		own = append(own, ap.Addr())
	}
	for i, u := range cfg.Upstreams {
		a, err := withPort(u)
		if err != nil {
			return nil, err
		}
		cfg.Upstreams[i] = a
	}
	rc := rest.CopyConfig(cfg.REST)
	rc.AcceptContentTypes, rc.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Server{
		cfg:          cfg,
		client:       client,
		zone:         records.NewZone(own...),
		ready:        make(chan struct{}),
		reloadFailed: newReloadFailed(),
	}, nil
}

// Ready is closed when all names of the cluster are answered. Names outside of
// it are answered before.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Addresses returns where the server answers, with the port that was chosen
// for port 0. It is empty before Run listens.
func (s *Server) Addresses() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.listening)
}

// Run answers until ctx ends. It goes on with what it knows while the API
// server is away.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.FromContext(ctx).WithName("dns")))
	var running sync.WaitGroup
	defer func() {
		cancel()
		running.Wait()
	}()
	var sockets []*sockets
	defer func() {
		for _, l := range sockets {
			l.close()
		}
	}()
	for _, a := range s.cfg.ListenAddresses {
		l, err := listen(s.cfg.NetNS, a)
		if err != nil {
			return fmt.Errorf("serve DNS: %w", err)
		}
		sockets = append(sockets, l)
		s.mu.Lock()
		s.listening = append(s.listening, l.address())
		s.mu.Unlock()
	}
	if err := s.serveMetrics(ctx, &running); err != nil {
		return err
	}
	if err := s.use(ctx, &running, s.standardCorefile()); err != nil {
		return err
	}
	defer func() {
		cancel()
		running.Wait()
		if err := s.chain.Load().Close(); err != nil {
			klog.FromContext(ctx).Error(err, "Corefile did not end well")
		}
	}()
	failed := make(chan error, 2*len(sockets))
	for _, l := range sockets {
		l.serve(ctx, &running, s.handler(ctx), failed)
	}
	klog.FromContext(ctx).Info("Serving DNS", "addresses", s.Addresses(), "domain", s.cfg.ClusterDomain)
	running.Go(func() { s.watchConfig(ctx, &running) })
	running.Go(func() {
		if s.watch(ctx, &running) {
			s.synced.Store(true)
			close(s.ready)
		}
	})
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return fmt.Errorf("serve DNS: %w", err)
	}
}

func withPort(upstream string) (string, error) {
	if a, err := netip.ParseAddr(upstream); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	a, err := netip.ParseAddrPort(upstream)
	if err != nil {
		return "", fmt.Errorf("upstream %q: want an address or address:port: %w", upstream, err)
	}
	return a.String(), nil
}

// handler answers queries by the chain in force.
func (s *Server) handler(ctx context.Context) dns.Handler {
	return dns.HandlerFunc(func(w dns.ResponseWriter, req *dns.Msg) {
		if s.loops.cameBack(req) {
			_ = w.WriteMsg(new(dns.Msg).SetRcode(req, dns.RcodeRefused)) // the probe waits for no answer
			return
		}
		err := netns.Do(s.cfg.NetNS, func() error {
			for !s.chain.Load().ServeDNS(ctx, w, req) { //nolint:revive // the chain was replaced meanwhile
			}
			return nil
		})
		if err != nil {
			_ = w.WriteMsg(new(dns.Msg).SetRcode(req, dns.RcodeServerFailure))
			klog.FromContext(ctx).Error(err, "Query was not answered")
		}
	})
}
