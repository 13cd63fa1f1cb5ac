package controllers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/config"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/recorder"
)

// Controllers is the room: the chosen controllers, and who leads.
type Controllers struct {
	cfg    Config
	chosen []controller

	ready     chan struct{}
	readyOnce sync.Once
}

// adoptLog gives controller-runtime's own logger, which is one for the whole
// process, klog's output; left alone it complains on stderr after 30 seconds.
var adoptLog = sync.OnceFunc(func() { ctrllog.SetLogger(klog.Background()) })

// newScheme returns the Go types of all built-in kinds. It is read only, so
// all instances in a process share one.
var newScheme = sync.OnceValue(func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	return scheme
})

// New checks cfg and returns the room, which does nothing until Run.
func New(cfg Config) (*Controllers, error) {
	if cfg.REST == nil {
		return nil, errors.New("controllers: Config.REST is needed to reach the API server")
	}
	cfg = cfg.withDefaults()
	cfg.REST = rest.CopyConfig(cfg.REST)
	cfg.REST.QPS, cfg.REST.Burst, cfg.REST.RateLimiter = -1, -1, nil
	cfg.REST.WarningHandlerWithContext = rest.NoWarnings{}
	if cfg.REST.UserAgent == "" {
		cfg.REST.UserAgent = "skiff-controllers"
	}
	chosen, err := choose(all(), cfg.Controllers)
	if err != nil {
		return nil, err
	}
	c := &Controllers{cfg: cfg, chosen: chosen, ready: make(chan struct{})}
	if cfg.LeaderElect {
		if _, err := c.elector(leaderCallbacks{}); err != nil {
			return nil, fmt.Errorf("configure leader election: %w", err)
		}
	}
	adoptLog()
	return c, nil
}

// Ready is closed once the controllers act, or, with leader election, once
// another instance is known to lead.
func (c *Controllers) Ready() <-chan struct{} { return c.ready }

func (c *Controllers) setReady() { c.readyOnce.Do(func() { close(c.ready) }) }

// Run runs the controllers until ctx ends and all of them have stopped. With
// leader election it stands by until it leads, and stands by again when it
// loses the lead. It returns an error when a controller cannot be started.
func (c *Controllers) Run(ctx context.Context) error {
	stopServing, err := c.serve(ctx)
	if err != nil {
		return err
	}
	defer stopServing()
	if !c.cfg.LeaderElect {
		return c.runControllers(ctx)
	}
	for ctx.Err() == nil {
		if err := c.standAndLead(ctx); err != nil {
			return err
		}
	}
	return nil
}

// runControllers runs all chosen controllers until ctx ends.
func (c *Controllers) runControllers(ctx context.Context) error {
	cached := &informers{byKind: map[schema.GroupVersionKind]toolscache.SharedIndexInformer{}}
	mgr, stopEvents, err := c.newManager(ctx, cached)
	if err != nil {
		return err
	}
	defer stopEvents()
	filled := make(chan struct{})
	cfg := c.cfg
	cfg.filled, cfg.cached = filled, cached
	for _, each := range c.chosen {
		if err := each.setup(mgr, cfg); err != nil {
			return fmt.Errorf("set up %s: %w", each.name, err)
		}
	}
	if err := mgr.Add(manager.RunnableFunc(c.reportReady(mgr, filled))); err != nil {
		return fmt.Errorf("add readiness report: %w", err)
	}
	if err := mgr.Start(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("run controllers: %w", err)
	}
	return nil
}

// reportReady closes filled and Ready once every cache holds what the server
// has.
func (c *Controllers) reportReady(mgr ctrl.Manager, filled chan<- struct{}) func(context.Context) error {
	return func(ctx context.Context) error {
		if mgr.GetCache().WaitForCacheSync(ctx) {
			close(filled)
			c.setReady()
		}
		return nil
	}
}

// newManager returns a manager without leader election, health or metrics
// servers of its own, all of which outlive a term of leadership.
func (c *Controllers) newManager(ctx context.Context, cached *informers) (ctrl.Manager, func(), error) {
	// What controller-runtime tells of starts and stops is detail.
	logger := klog.FromContext(ctx).V(1)
	mgr, err := ctrl.NewManager(c.cfg.REST, ctrl.Options{
		Scheme:                  newScheme(),
		Logger:                  logger,
		Cache:                   cache.Options{DefaultTransform: cache.TransformStripManagedFields(), NewInformer: cached.make},
		Metrics:                 metricsserver.Options{BindAddress: "0"},
		HealthProbeBindAddress:  "0",
		GracefulShutdownTimeout: ptr.To[time.Duration](-1), // turns end with ctx: wait for them all
		BaseContext:             func() context.Context { return klog.NewContext(context.WithoutCancel(ctx), logger) },
		Controller: config.Controller{
			SkipNameValidation:      ptr.To(true), // several instances in one process
			MaxConcurrentReconciles: c.cfg.Concurrency,
			Logger:                  logger,
		},
	})
	if err != nil {
		return nil, nil, fmt.Errorf("create manager: %w", err)
	}
	compact := rest.CopyConfig(c.cfg.REST)
	compact.ContentType, compact.AcceptContentTypes = runtime.ContentTypeProtobuf, runtime.ContentTypeProtobuf+","+runtime.ContentTypeJSON
	events, err := corev1client.NewForConfigAndClient(compact, mgr.GetHTTPClient())
	if err != nil {
		return nil, nil, fmt.Errorf("create events client: %w", err)
	}
	broadcaster := record.NewBroadcaster(record.WithContext(context.WithoutCancel(ctx)))
	broadcaster.StartRecordingToSink(&corev1client.EventSinkImpl{Interface: events.Events("")})
	return eventManager{Manager: mgr, broadcaster: broadcaster}, broadcaster.Shutdown, nil
}

// eventManager records events the way kube-controller-manager does: core/v1,
// similar ones merged into one with a count, at most 25 at a time for each
// object. controller-runtime's own recorder has no such limit, so that a
// Deployment of 500 pods would cost 500 events.
type eventManager struct {
	ctrl.Manager
	broadcaster record.EventBroadcaster
}

func (m eventManager) GetEventRecorder(name string) recorder.EventRecorder {
	return record.NewEventRecorderAdapter(m.broadcaster.NewRecorder(m.GetScheme(), corev1.EventSource{Component: name}))
}

// Healthy and ready are the same for the room: a standby has nothing to wait for.
func (c *Controllers) isReady(*http.Request) error {
	select {
	case <-c.ready:
		return nil
	default:
		return errors.New("caches are not synced")
	}
}
