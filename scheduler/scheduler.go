package scheduler

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/cycle"
	"github.com/skiffcluster/skiff/scheduler/queue"
)

// Config says how a scheduler works. Only REST is required.
type Config struct {
	// REST is how to reach the API server. Without a QPS of its own the client
	// is not limited.
	REST *rest.Config
	// SchedulerName is the spec.schedulerName of the pods to schedule;
	// "default-scheduler" when empty.
	SchedulerName string

	// LeaderElect lets one of several schedulers work at a time, by a Lease in
	// LeaseNamespace ("kube-system"). LeaseName is "kube-scheduler" for the
	// default scheduler and the scheduler's name for others.
	LeaderElect               bool
	LeaseName, LeaseNamespace string
	// Identity is the holder's name in the Lease, unique among schedulers; a
	// random one when empty.
	Identity string
	// LeaseDuration (2 s, whole seconds), RenewDeadline (1.3 s) and RetryPeriod
	// (0.1 s) decide how soon another takes over from a dead leader: within
	// LeaseDuration and 4.4 times RetryPeriod, thus below 3 s.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
	// Alone, if not nil, says whether no other scheduler could act in this one's
	// place. While that is so the leader writes the Lease every 5 s, for 15 s.
	Alone func() bool

	// Clock is for backoff times; the real one when nil.
	Clock clock.WithTicker
	// PercentageOfNodesToScore bounds how many fitting nodes are looked for
	// before the best is taken; 0 adapts it to the size of the cluster.
	PercentageOfNodesToScore int
	// Parallelism is how many goroutines look at nodes for one pod; the number
	// of cores, at most 16, when 0.
	Parallelism int
	// Registerer takes metrics, under kube-scheduler's names; none when nil.
	Registerer prometheus.Registerer
}

// Scheduler gives pods nodes.
type Scheduler struct {
	cfg      Config
	client   kubernetes.Interface
	sources  *sources
	cache    *cache.Cache
	queue    *queue.Queue
	cycle    *cycle.Cycle
	promised queue.Nominations
	volumes  volumes
	statuses *statuses
	metrics  *metrics
	events   events.EventRecorder // set by Run

	ready chan struct{}
	// work bounds what is done beside the loop; wg waits for it.
	work chan struct{}
	wg   sync.WaitGroup
}

// concurrentWrites is how many binds and other writes are under way at once.
// Each is a request that takes about a millisecond, mostly of waiting.
const concurrentWrites = 64

// New makes a scheduler; Run starts it.
func New(cfg Config) (*Scheduler, error) {
	if cfg.REST == nil {
		return nil, errors.New("scheduler: REST is required")
	}
	cfg.setDefaults()
	if cfg.PercentageOfNodesToScore < 0 || cfg.PercentageOfNodesToScore > 100 {
		return nil, fmt.Errorf("scheduler: percentageOfNodesToScore: %d is not in the range 0-100", cfg.PercentageOfNodesToScore)
	}
	client, err := kubernetes.NewForConfig(cfg.REST)
	if err != nil {
		return nil, fmt.Errorf("scheduler: make client: %w", err)
	}
	s := &Scheduler{
		cfg:    cfg,
		client: client,
		cache:  cache.New(),
		ready:  make(chan struct{}),
		work:   make(chan struct{}, concurrentWrites),
	}
	s.sources = newSources(client)
	s.volumes.changed = make(chan struct{})
	rules := cycle.DefaultRules(s.lookup())
	s.queue = queue.New(cfg.Clock, rules.Wakers())
	s.cycle = &cycle.Cycle{
		Cache:                    s.cache,
		Rules:                    rules,
		Nominated:                s.promised.On,
		PercentageOfNodesToScore: cfg.PercentageOfNodesToScore,
		Parallelism:              cfg.Parallelism,
	}
	s.statuses = newStatuses(s)
	s.metrics, err = newMetrics(cfg.Registerer, s.queue, cfg.SchedulerName)
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	return s, nil
}

func (c *Config) setDefaults() {
	c.REST = rest.CopyConfig(c.REST)
	c.REST.ContentType = "application/vnd.kubernetes.protobuf"
	c.REST.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	if c.REST.QPS == 0 && c.REST.RateLimiter == nil {
		c.REST.QPS = -1
	}
	if c.SchedulerName == "" {
		c.SchedulerName = corev1.DefaultSchedulerName
	}
	if c.LeaseNamespace == "" {
		c.LeaseNamespace = "kube-system"
	}
	if c.LeaseName == "" {
		c.LeaseName = "kube-scheduler"
		if c.SchedulerName != corev1.DefaultSchedulerName {
			c.LeaseName = c.SchedulerName
		}
	}
	if c.LeaseDuration == 0 {
		c.LeaseDuration = 2 * time.Second
	}
	if c.RenewDeadline == 0 {
		c.RenewDeadline = 1300 * time.Millisecond
	}
	if c.RetryPeriod == 0 {
		c.RetryPeriod = 100 * time.Millisecond
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Parallelism == 0 {
		c.Parallelism = min(runtime.GOMAXPROCS(0), 16)
	}
}

// Ready is closed once the caches are filled. With LeaderElect another
// scheduler may be the one that works.
func (s *Scheduler) Ready() <-chan struct{} { return s.ready }

// Run schedules pods until ctx ends, and returns when all is stopped. It may
// be called once.
func (s *Scheduler) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, klog.FromContext(ctx).WithName("scheduler")))
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: s.client.EventsV1()})
	defer func() {
		cancel()
		s.sources.stop() // no handler runs from here on
		s.wg.Wait()
		broadcaster.Shutdown()
	}()
	if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
		return fmt.Errorf("scheduler: record events: %w", err)
	}
	s.events = broadcaster.NewRecorder(scheme.Scheme, s.cfg.SchedulerName)

	if err := s.sources.start(ctx, s); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("scheduler: %w", err)
	}
	if !s.sources.sync(ctx) {
		return nil
	}
	s.wg.Go(func() { s.queue.Run(ctx) })
	close(s.ready)

	if !s.cfg.LeaderElect {
		s.loop(ctx)
		return nil
	}
	return s.lead(ctx)
}

// Explain judges all nodes for a pod, whether or not it is in the cluster.
func (s *Scheduler) Explain(pod *corev1.Pod) ([]cycle.Explanation, error) {
	p, err := cache.NewPod(pod)
	if err != nil {
		return nil, fmt.Errorf("explain pod %s: %w", p.Key, err)
	}
	return cycle.Explain(s.cycle.Rules, s.cache.Fresh(), p), nil
}

// aside does work beside the loop; it waits while too much is under way.
func (s *Scheduler) aside(work func()) {
	s.work <- struct{}{}
	s.wg.Go(func() {
		defer func() { <-s.work }()
		work()
	})
}

// later is aside for callers that may not wait.
func (s *Scheduler) later(work func()) {
	s.wg.Go(func() {
		s.work <- struct{}{}
		defer func() { <-s.work }()
		work()
	})
}
