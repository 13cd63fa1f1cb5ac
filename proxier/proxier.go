package proxier

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/internal/addrpool"
	"github.com/skiffcluster/skiff/proxier/announce"
	"github.com/skiffcluster/skiff/proxier/backend"
	"github.com/skiffcluster/skiff/proxier/model"
)

// Defaults that kube-proxy has too. The addresses are for the command line: an
// empty address in Config serves nothing.
const (
	DefaultSyncPeriod         = 30 * time.Second
	DefaultHealthzBindAddress = "0.0.0.0:10256"
	DefaultMetricsBindAddress = "127.0.0.1:10249"
)

// Config configures a Proxier.
type Config struct {
	// REST is how the API server is reached.
	REST *rest.Config
	// NodeName is the name of the Node that this proxier serves.
	NodeName string
	// Mode is how services are served: ModeAuto when empty.
	Mode Mode
	// IPVSScheduler is one of IPVS's schedulers: rr (default), wrr, lc, wlc,
	// lblc, lblcr, dh, sh, mh, sed, nq, fo, ovf, twos.
	IPVSScheduler string
	// ClusterCIDR is the network of the pods, or one for each family separated
	// by a comma. Clients of cluster IPs from elsewhere are masqueraded; without
	// it, none is.
	ClusterCIDR string
	// NodePortAddresses limits which local addresses serve node ports, as
	// networks; empty means all but loopback.
	NodePortAddresses []string
	// HealthzBindAddress serves /healthz and /livez; empty for none.
	HealthzBindAddress string
	// MetricsBindAddress serves /metrics and /proxyMode; empty for none.
	MetricsBindAddress string
	// SyncPeriod is how often everything is checked; DefaultSyncPeriod when 0.
	SyncPeriod time.Duration
	// MinSyncPeriod is the least time between two writes to the kernel; 0 writes
	// each change at once.
	MinSyncPeriod time.Duration
	// NetNS is the path of the network namespace to serve; empty for the process's own.
	NetNS string
	// LoadBalancerPool are the load-balancer addresses that nodes announce, as
	// networks and ranges separated by commas; empty for none.
	LoadBalancerPool string
}

// Proxier serves the services on one node.
type Proxier struct {
	cfg     Config
	kernel  backend.Config
	client  kubernetes.Interface
	metrics *metrics
	ready   chan struct{}
	wake    chan struct{} // something changed
	check   chan struct{} // a full check is due before its time
	pool    addrpool.Pool

	mu      sync.Mutex // guards what follows
	tracker *model.Tracker
	health  health
	mode    Mode // in use
	// excluded is true when the node must be no load balancer.
	excluded bool
}

// New checks the configuration and returns a Proxier that is not running yet.
func New(cfg Config) (*Proxier, error) {
	if cfg.REST == nil {
		return nil, errors.New("proxier: REST is not set")
	}
	if cfg.NodeName == "" {
		return nil, errors.New("proxier: NodeName is not set")
	}
	if !slices.Contains(modes, cfg.Mode) {
		return nil, fmt.Errorf("unknown proxy mode %q: want ipvs, nftables, none, or nothing to choose by the kernel", cfg.Mode)
	}
	if cfg.IPVSScheduler != "" && !slices.Contains(schedulers, cfg.IPVSScheduler) {
		return nil, fmt.Errorf("unknown IPVS scheduler %q: want one of %v", cfg.IPVSScheduler, schedulers)
	}
	if cfg.SyncPeriod == 0 {
		cfg.SyncPeriod = DefaultSyncPeriod
	}
	kernel := backend.Config{NetNS: cfg.NetNS}
	var err error
	if kernel.ClusterCIDRs, err = prefixes("cluster CIDR", splitList(cfg.ClusterCIDR)); err != nil {
		return nil, err
	}
	if kernel.NodePortAddresses, err = prefixes("node port address", cfg.NodePortAddresses); err != nil {
		return nil, err
	}
	pool, err := addrpool.Parse(cfg.LoadBalancerPool)
	if err != nil {
		return nil, fmt.Errorf("load-balancer pool: %w", err)
	}
	rc := rest.CopyConfig(cfg.REST)
	rc.AcceptContentTypes, rc.ContentType = "application/vnd.kubernetes.protobuf,application/json", "application/vnd.kubernetes.protobuf"
	rest.AddUserAgent(rc, "kube-proxy")
	client, err := kubernetes.NewForConfig(rc)
	if err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return &Proxier{
		cfg:     cfg,
		kernel:  kernel,
		client:  client,
		metrics: newMetrics(),
		ready:   make(chan struct{}),
		wake:    make(chan struct{}, 1),
		check:   make(chan struct{}, 1),
		pool:    pool,
		tracker: model.NewTracker(model.Node{Name: cfg.NodeName}),
		health:  health{patience: 2 * cfg.SyncPeriod, eligible: true},
	}, nil
}

// Ready is closed when the kernel serves all services for the first time.
func (p *Proxier) Ready() <-chan struct{} { return p.ready }

// Run serves until ctx ends. The kernel's rules stay, so that connections go on;
// Cleanup removes them.
func (p *Proxier) Run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.FromContext(ctx).WithName("proxier")))
	var running sync.WaitGroup
	defer func() {
		cancel()
		running.Wait()
	}()
	b, fallback, err := p.openBackend()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	servers, err := p.listen(ctx, &running)
	if err != nil {
		return err
	}
	running.Go(func() { p.recordStart(ctx, fallback) })
	if w, ok := b.(interface {
		WatchAddresses(ctx context.Context, notify func())
	}); ok {
		running.Go(func() { w.WatchAddresses(ctx, func() { signal(p.check) }) })
	}
	announcer := &announce.Announcer{Client: p.client, NodeName: p.cfg.NodeName, NetNS: p.cfg.NetNS, Pool: p.pool}
	if p.announces() {
		running.Go(func() { announcer.Run(ctx) })
	}
	if !p.watch(ctx, &running) {
		return nil // ctx ended
	}
	p.loop(ctx, b, servers, announcer)
	return nil
}

// loop writes changes when they come and checks everything from time to time.
func (p *Proxier) loop(ctx context.Context, b backend.Backend, servers *healthPorts, announcer *announce.Announcer) {
	log := klog.FromContext(ctx)
	var again <-chan time.Time
	apply := func() {
		again = nil
		if err := p.apply(ctx, b, servers); err != nil {
			log.Error(err, "Sync failed, retrying")
			again = time.After(retryPeriod)
			return
		}
		select {
		case <-p.ready:
		default:
			close(p.ready)
		}
	}
	check := func() {
		began := time.Now()
		repaired, err := b.Check(ctx)
		p.metrics.full.Observe(time.Since(began).Seconds())
		if err != nil {
			log.Error(err, "Check failed")
		} else if repaired > 0 {
			log.Info("Repaired kernel rules", "count", repaired)
		}
		p.synced(err)
	}
	if p.announces() {
		plain, plainCheck := apply, check
		apply = func() { plain(); announcer.Want(p.announced()) }
		check = func() { plainCheck(); announcer.Want(p.announced()) }
	}
	apply()
	full := time.NewTicker(p.cfg.SyncPeriod)
	defer full.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.wake:
			apply()
		case <-again:
			apply()
			check()
		case <-p.check:
			check()
		case <-full.C:
			check()
		}
		if p.cfg.MinSyncPeriod > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(p.cfg.MinSyncPeriod):
			}
		}
	}
}

// retryPeriod is how long to wait after a failed write.
const retryPeriod = time.Second

func (p *Proxier) apply(ctx context.Context, b backend.Backend, servers *healthPorts) error {
	p.mu.Lock()
	changes := p.tracker.Changes()
	triggers := p.metrics.take()
	p.health.began(time.Now())
	p.mu.Unlock()
	select {
	case <-p.ready:
		if len(changes) == 0 && p.isSynced() {
			p.synced(nil)
			return nil
		}
	default:
	}
	began := time.Now()
	err := b.Apply(ctx, changes)
	took := time.Since(began)
	p.metrics.sync.Observe(took.Seconds())
	p.synced(err)
	servers.apply(ctx, changes)
	if err != nil {
		return err
	}
	p.metrics.written(changes, triggers, time.Now())
	klog.FromContext(ctx).V(2).Info("Synced", "services", len(changes), "took", took)
	return nil
}

func (p *Proxier) isSynced() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.health.failed
}

// synced notes the outcome of a write.
func (p *Proxier) synced(err error) {
	now := time.Now()
	p.mu.Lock()
	p.health.ended(now, err)
	p.mu.Unlock()
	if err == nil {
		p.metrics.last.Set(float64(now.UnixNano()) / float64(time.Second))
	} else {
		p.metrics.failures.Inc()
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func prefixes(what string, in []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, s := range in {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%s %q: want a network such as 10.244.0.0/16: %w", what, s, err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}
