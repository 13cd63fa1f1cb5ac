package garbage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

const (
	// debounce is how long discovery waits for more definitions to change: an
	// installation creates many at once.
	debounce = 100 * time.Millisecond
	// rediscover is for what no definition tells of: an API server that is not
	// complete yet when we begin, or is upgraded. It is asked again soon, then
	// less and less often.
	rediscoverSoon = time.Second
	rediscover     = 10 * time.Minute
	// retryDiscovery is the wait after a failure, and while groups do not answer
	// (upstream's period of discovery).
	retryDiscovery = 30 * time.Second
)

// monitors keeps one watch for each kind that discovery shows.
type monitors struct {
	metadata metadata.Interface
	discover discovery.DiscoveryInterfaceWithContext
	clock    clock.WithTicker
	graph    *graph
	cached   func(schema.GroupVersionKind) cache.SharedIndexInformer
	enqueue  func(checks)
	onGone   func(*object)

	changed chan struct{} // holds a token when discovery is due

	mu      sync.Mutex
	kinds   kinds
	running map[schema.GroupVersionResource]*monitor
	wg      sync.WaitGroup
}

// monitor is the watch of one kind. It is the store that a reflector fills, or
// follows another's informer; all it stores goes into the graph.
type monitor struct {
	set      *monitors
	resource schema.GroupVersionResource
	kind     string
	stop     context.CancelFunc
	synced   func() bool
	replaced atomic.Bool // by the reflector's first list
}

var _ cache.ReflectorStore = (*monitor)(nil)

// run follows discovery until ctx ends and all watches have stopped.
func (m *monitors) run(ctx context.Context) {
	defer m.wg.Wait()
	logger := klog.FromContext(ctx)
	next := rediscoverSoon
	for {
		wait := next
		next = min(2*next, rediscover)
		if complete, err := m.sync(ctx); err != nil {
			if ctx.Err() == nil {
				logger.Error(err, "Failed to discover what can be deleted")
			}
			wait = min(wait, retryDiscovery)
		} else if !complete {
			wait = min(wait, retryDiscovery)
		}
		timer := m.clock.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C():
		case <-m.changed:
			timer.Stop()
			select {
			case <-ctx.Done():
				return
			case <-m.clock.After(debounce):
			}
		}
	}
}

// refresh asks for discovery soon.
func (m *monitors) refresh() {
	select {
	case m.changed <- struct{}{}:
	default: // asked for already
	}
}

// sync starts and stops watches after what discovery shows. It is complete when
// all groups answered.
func (m *monitors) sync(ctx context.Context) (complete bool, err error) {
	groups, lists, err := m.discover.ServerGroupsAndResourcesWithContext(ctx)
	var failed *discovery.ErrGroupDiscoveryFailed
	if err != nil && !errors.As(err, &failed) {
		return false, fmt.Errorf("discover resources: %w", err)
	}
	var failedGroups map[schema.GroupVersion]error
	if failed != nil {
		failedGroups = failed.Groups
		klog.FromContext(ctx).Info("Some groups did not answer discovery; what was known of them is kept", "groups", fmt.Sprint(slices.Collect(maps.Keys(failedGroups))))
	}
	m.mu.Lock()
	m.kinds = planKinds(groups, lists, failedGroups, m.kinds)
	var stopped []schema.GroupVersionResource
	for resource, running := range m.running {
		if _, wanted := m.kinds.watched[resource]; !wanted {
			running.stop()
			delete(m.running, resource)
			stopped = append(stopped, resource)
		}
	}
	for resource, kind := range m.kinds.watched {
		if m.running[resource] == nil {
			m.running[resource] = m.start(ctx, resource, kind)
		}
	}
	m.mu.Unlock()
	for _, resource := range stopped {
		// Nothing of a kind that is not served can exist.
		for _, uid := range m.graph.missing(resource, nil) {
			m.forget(uid)
		}
	}
	return failed == nil, nil
}

// start begins the watch of one kind. The caller holds the lock.
func (m *monitors) start(ctx context.Context, resource schema.GroupVersionResource, kind string) *monitor {
	if informer := m.cached(resource.GroupVersion().WithKind(kind)); informer != nil {
		if each, err := m.follow(informer, resource, kind); err == nil {
			return each
		} // it has ended, and so will ours
	}
	ctx, stop := context.WithCancel(ctx)
	each := &monitor{set: m, resource: resource, kind: kind, stop: stop}
	each.synced = each.replaced.Load
	client := m.metadata.Resource(resource)
	source := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(ctx, options)
		},
	}, m.metadata)
	logger := klog.FromContext(ctx)
	reflector := cache.NewReflectorWithOptions(source, &metav1.PartialObjectMetadata{}, each, cache.ReflectorOptions{
		Logger: &logger, Name: "garbage-collector " + resource.GroupResource().String(),
	})
	m.wg.Go(func() { reflector.RunWithContext(ctx) })
	return each
}

// follow takes the objects of one kind from an informer that there is anyway.
func (m *monitors) follow(informer cache.SharedIndexInformer, resource schema.GroupVersionResource, kind string) (*monitor, error) {
	each := &monitor{set: m, resource: resource, kind: kind}
	handle, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(obj any, isInInitialList bool) {
			each.observe(obj.(metav1.Object))
			if !isInInitialList {
				each.refreshIfDefinition()
			}
		},
		UpdateFunc: func(before, after any) {
			if was := before.(metav1.Object).GetUID(); was != after.(metav1.Object).GetUID() {
				m.forget(was) // the informer has missed the end of it
			}
			each.observe(after.(metav1.Object))
			each.refreshIfDefinition()
		},
		DeleteFunc: func(obj any) {
			if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = last.Obj
			}
			if object, ok := obj.(metav1.Object); ok {
				m.forget(object.GetUID())
				each.refreshIfDefinition()
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("follow %s: %w", resource.GroupResource(), err)
	}
	each.stop = func() { _ = informer.RemoveEventHandler(handle) } // it fails where the informer has ended
	each.synced = func() bool {
		select {
		case <-handle.HasSyncedChecker().Done():
			return true
		default:
			return false
		}
	}
	return each, nil
}

// synced tells whether every watch has shown what there was when it began.
func (m *monitors) synced() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, each := range m.running {
		if !each.synced() {
			return false
		}
	}
	return len(m.running) > 0
}

// mapping returns where a kind is served; not ok when it is not.
func (m *monitors) mapping(kind schema.GroupVersionKind) (mapping, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	found, ok := m.kinds.byKind[kind]
	return found, ok
}

func (m *monitors) forget(uid types.UID) {
	gone, follow := m.graph.forget(uid)
	if gone != nil {
		m.onGone(gone)
	}
	m.enqueue(follow)
}

// Add takes in a new object.
func (w *monitor) Add(obj any) error {
	meta, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("watch %s: got a %T", w.resource.GroupResource(), obj)
	}
	w.observe(meta)
	w.refreshIfDefinition()
	return nil
}

func (w *monitor) observe(object metav1.Object) {
	w.set.enqueue(w.set.graph.observe(newObject(w.resource, w.kind, object)))
}

// Update takes in a changed object.
func (w *monitor) Update(obj any) error { return w.Add(obj) }

// Delete takes out an object.
func (w *monitor) Delete(obj any) error {
	meta, ok := obj.(*metav1.PartialObjectMetadata)
	if !ok {
		return fmt.Errorf("watch %s: got a %T", w.resource.GroupResource(), obj)
	}
	w.set.forget(meta.UID)
	w.refreshIfDefinition()
	return nil
}

// Replace takes in all objects there are.
func (w *monitor) Replace(objs []any, _ string) error {
	listed := make(map[types.UID]bool, len(objs))
	for _, obj := range objs {
		meta, ok := obj.(*metav1.PartialObjectMetadata)
		if !ok {
			return fmt.Errorf("list %s: got a %T", w.resource.GroupResource(), obj)
		}
		listed[meta.UID] = true
		w.observe(meta)
	}
	for _, uid := range w.set.graph.missing(w.resource, listed) {
		w.set.forget(uid)
	}
	if w.replaced.Swap(true) {
		w.refreshIfDefinition()
	}
	return nil
}

// Resync has nothing to do: the graph forgets nothing.
func (w *monitor) Resync() error { return nil }

func (w *monitor) refreshIfDefinition() {
	if definitions[w.resource.GroupResource()] {
		w.set.refresh()
	}
}
