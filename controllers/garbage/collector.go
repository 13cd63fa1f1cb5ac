package garbage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
)

const (
	// Name is the controller's name in logs and events.
	Name = "garbage-collector-controller"

	// workers is how many objects are worked on at a time (upstream's
	// --concurrent-gc-syncs).
	workers = 20
	// startTimeout is how long work waits for every kind to be listed. Without
	// some it is safe, but owners that are not seen yet are asked for one by one.
	startTimeout = 5 * time.Second
	// othersTimeout is how long the start waits for the other controllers, one of
	// which may be unable to read its kind.
	othersTimeout = time.Second
	// wholeTimeout is how long objects that wait for their dependents, or are to
	// orphan them, are held until every kind is listed: those of a kind that is
	// not would be left behind. An API server that does not answer cannot hold
	// them for ever (upstream's number).
	wholeTimeout = 30 * time.Second
	// ownerDelay is how long a child is given for its parent to be seen.
	ownerDelay = 500 * time.Millisecond
	// tries is how often a write is tried on an object that keeps changing.
	tries = 5
	// remembered is how many absent owners are remembered.
	remembered = 500
)

// +kubebuilder:rbac:groups="*",resources="*",verbs=get;list;watch;patch;update;delete

// Reconciler is the garbage collector. It reconciles objects of all kinds, so it
// has watches of its own, of metadata alone, for those that no other controller
// watches.
type Reconciler struct {
	Clock  clock.WithTicker
	Events events.EventRecorder
	// Filled is closed when the other controllers have filled their caches; nil:
	// they are not waited for.
	Filled <-chan struct{}
	// Cached gives the informer that the other controllers have of a kind; nil
	// when there is none.
	Cached func(schema.GroupVersionKind) cache.SharedIndexInformer

	metadata metadata.Interface
	graph    *graph
	monitors *monitors
	queue    workqueue.TypedRateLimitingInterface[types.UID]
	started  time.Time

	// gone has the owners that certainly do not exist: a UID is never used
	// twice. reported has the references that were complained about.
	gone, reported *lru.Cache
	// orphaned has the owners whose dependents were let go: the graph may have
	// learned of one only after that.
	orphaned *lru.Cache
}

// SetupWithManager adds the collector to the manager.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(Name)
	}
	config := rest.CopyConfig(mgr.GetConfig())
	var err error
	if r.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), mgr.GetHTTPClient()); err != nil {
		return fmt.Errorf("make a metadata client: %w", err)
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a discovery client: %w", err)
	}
	r.graph = newGraph()
	r.gone, r.reported, r.orphaned = lru.New(remembered), lru.New(remembered), lru.New(remembered)
	r.monitors = &monitors{
		metadata: r.metadata,
		discover: discoveryClient,
		clock:    r.Clock,
		graph:    r.graph,
		cached:   r.Cached,
		enqueue:  r.enqueue,
		onGone:   r.remember,
		changed:  make(chan struct{}, 1),
		running:  map[schema.GroupVersionResource]*monitor{},
	}
	return mgr.Add(manager.RunnableFunc(r.run))
}

func (r *Reconciler) enqueue(c checks) {
	for _, uid := range c.now {
		r.queue.Add(uid)
	}
	for _, uid := range c.later {
		r.queue.AddAfter(uid, ownerDelay)
	}
}

// run collects until ctx ends and every goroutine has.
func (r *Reconciler) run(ctx context.Context) error {
	ctx = klog.NewContext(ctx, klog.FromContext(ctx).WithValues("controller", Name))
	r.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
		workqueue.DefaultTypedControllerRateLimiter[types.UID](),
		workqueue.TypedRateLimitingQueueConfig[types.UID]{Clock: r.Clock},
	)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		r.waitForOthers(ctx)
		r.monitors.run(ctx)
	})
	wg.Go(func() { <-ctx.Done(); r.queue.ShutDown() })
	r.waitForSync(ctx)
	for range workers {
		wg.Go(func() {
			for r.next(ctx) {
			}
		})
	}
	<-ctx.Done()
	return nil
}

// waitForOthers lets the other controllers fill their caches first: the cluster
// can be used when they have, and the watches of all kinds that there are would
// double what the API server has to do until then.
func (r *Reconciler) waitForOthers(ctx context.Context) {
	if r.Filled == nil {
		return
	}
	select {
	case <-r.Filled:
	case <-ctx.Done():
	case <-r.Clock.After(othersTimeout):
	}
}

// waitForSync waits until the graph is whole, or long enough.
func (r *Reconciler) waitForSync(ctx context.Context) {
	r.started = r.Clock.Now()
	deadline := r.Clock.After(startTimeout)
	tick := r.Clock.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !r.monitors.synced() {
		select {
		case <-ctx.Done():
			return
		case <-deadline:
			klog.FromContext(ctx).Info("Some kinds could not be listed yet; collecting without them")
			return
		case <-tick.C():
		}
	}
}

// isWhole tells whether all dependents of an object are known, or that it has
// been waited for long enough.
func (r *Reconciler) isWhole() bool {
	return r.monitors.synced() || r.Clock.Since(r.started) >= wholeTimeout
}

// next works on one object.
func (r *Reconciler) next(ctx context.Context) bool {
	uid, shutdown := r.queue.Get()
	if shutdown {
		return false
	}
	defer r.queue.Done(uid)
	again, err := r.process(ctx, uid)
	switch {
	case err != nil:
		if ctx.Err() == nil {
			klog.FromContext(ctx).V(2).Info("Failed to collect, will retry", "uid", uid, "err", err.Error())
		}
		r.queue.AddRateLimited(uid)
	case again:
		r.queue.AddRateLimited(uid)
	default:
		r.queue.Forget(uid)
	}
	return true
}

// process does what one object needs. It asks for another look when the object's
// owner exists but is not in the graph, whose deletion would go unnoticed, and
// when not all of its dependents may be known.
func (r *Reconciler) process(ctx context.Context, uid types.UID) (again bool, err error) {
	o := r.graph.get(uid)
	switch {
	case o == nil:
		return false, nil
	case o.orphansDependents():
		if !r.isWhole() {
			return true, nil
		}
		return false, r.orphan(ctx, o)
	case o.waitsForDependents():
		done, look := planForeground(o, r.graph.dependentsOf(uid))
		if done {
			if !r.isWhole() {
				return true, nil
			}
			return false, r.removeFinalizer(ctx, o, metav1.FinalizerDeleteDependents)
		}
		r.enqueue(checks{now: look})
		return false, nil
	case o.deleting:
		return false, nil
	}
	for range tries {
		var conflict bool
		conflict, again, err = r.collect(ctx, o)
		if !conflict || err != nil {
			return again, err
		}
		if o, err = r.live(ctx, o); o == nil || err != nil || o.deleting {
			return false, err
		}
	}
	return true, nil
}

// collect decides about one object and acts. A conflict means that the object
// is not what the decision was made on.
func (r *Reconciler) collect(ctx context.Context, o *object) (conflict, again bool, err error) {
	verdicts := make([]verdict, 0, len(o.owners))
	for _, reference := range o.owners {
		v, unseen, err := r.verify(ctx, o, reference)
		if err != nil {
			return false, false, err
		}
		verdicts = append(verdicts, v)
		again = again || unseen
	}
	a := planItem(o, verdicts, r.graph.dependentsOf(o.uid))
	if a.setOwners {
		// A deletion follows that must be made on what this write leaves.
		version, err := r.setOwners(ctx, o, a.owners)
		if apierrors.IsConflict(err) {
			return true, again, nil
		}
		if apierrors.IsNotFound(err) {
			return false, false, nil
		}
		if err != nil {
			return false, false, err
		}
		changed := *o
		changed.version, changed.owners = version, a.owners
		o = &changed
	}
	if a.delete == "" {
		return false, again, nil
	}
	err = r.metadata.Resource(o.resource).Namespace(o.namespace).Delete(ctx, o.name, metav1.DeleteOptions{
		Preconditions:     &metav1.Preconditions{UID: &o.uid, ResourceVersion: &o.version},
		PropagationPolicy: &a.delete,
	})
	switch {
	case err == nil:
		klog.FromContext(ctx).V(1).Info("Deleted object", "resource", o.resource.GroupResource(), "object", klog.KRef(o.namespace, o.name), "propagationPolicy", a.delete)
		return false, false, nil
	case apierrors.IsNotFound(err):
		return false, false, nil
	case apierrors.IsConflict(err):
		return true, false, nil
	}
	return false, false, fmt.Errorf("delete %s %s: %w", o.resource.GroupResource(), klog.KRef(o.namespace, o.name), err)
}

// orphan takes an object out of its dependents' owner references, then lets it
// go.
func (r *Reconciler) orphan(ctx context.Context, o *object) error {
	var mu sync.Mutex
	var errs []error
	r.orphaned.Add(o.uid, nil)
	dependents := r.graph.dependentsOf(o.uid)
	workqueue.ParallelizeUntil(ctx, workers, len(dependents), func(i int) {
		if err := r.release(ctx, dependents[i], o.uid); err != nil {
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		}
	})
	if err := errors.Join(append(errs, ctx.Err())...); err != nil {
		return fmt.Errorf("orphan the dependents of %s %s: %w", o.resource.GroupResource(), klog.KRef(o.namespace, o.name), err)
	}
	return r.removeFinalizer(ctx, o, metav1.FinalizerOrphanDependents)
}

// release removes one owner from an object's references.
func (r *Reconciler) release(ctx context.Context, o *object, owner types.UID) error {
	var err error
	for range tries {
		kept := without(o.owners, owner)
		if len(kept) == len(o.owners) {
			return nil
		}
		_, err = r.setOwners(ctx, o, kept)
		if !apierrors.IsConflict(err) {
			break
		}
		if o, err = r.live(ctx, o); o == nil || err != nil {
			return err
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// setOwners writes an object's owner references, if it is still as o says, and
// returns its new resourceVersion.
func (r *Reconciler) setOwners(ctx context.Context, o *object, owners []metav1.OwnerReference) (string, error) {
	patched, err := r.patch(ctx, o, map[string]any{"resourceVersion": o.version, "uid": o.uid, "ownerReferences": owners})
	if err != nil {
		return "", err
	}
	return patched.ResourceVersion, nil
}

// removeFinalizer lets an object go.
func (r *Reconciler) removeFinalizer(ctx context.Context, o *object, finalizer string) error {
	client := r.metadata.Resource(o.resource).Namespace(o.namespace)
	var err error
	for range tries {
		meta, getErr := client.Get(ctx, o.name, metav1.GetOptions{})
		if apierrors.IsNotFound(getErr) {
			return nil
		}
		if getErr != nil {
			return fmt.Errorf("get %s %s: %w", o.resource.GroupResource(), klog.KRef(o.namespace, o.name), getErr)
		}
		var kept []string
		for _, name := range meta.Finalizers {
			if name != finalizer {
				kept = append(kept, name)
			}
		}
		if meta.UID != o.uid || len(kept) == len(meta.Finalizers) {
			return nil
		}
		_, err = r.patch(ctx, o, map[string]any{"resourceVersion": meta.ResourceVersion, "uid": o.uid, "finalizers": kept})
		if !apierrors.IsConflict(err) {
			break
		}
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// patch writes metadata. A merge patch works for every kind, and the
// resourceVersion in it keeps the lists in it from overwriting others' changes.
func (r *Reconciler) patch(ctx context.Context, o *object, meta map[string]any) (*metav1.PartialObjectMetadata, error) {
	body, err := json.Marshal(map[string]any{"metadata": meta})
	if err != nil {
		return nil, fmt.Errorf("write patch: %w", err)
	}
	patched, err := r.metadata.Resource(o.resource).Namespace(o.namespace).Patch(ctx, o.name, types.MergePatchType, body, metav1.PatchOptions{})
	if err != nil {
		return nil, fmt.Errorf("patch %s %s: %w", o.resource.GroupResource(), klog.KRef(o.namespace, o.name), err)
	}
	return patched, nil
}

// live reads an object anew, nil when it is gone.
func (r *Reconciler) live(ctx context.Context, o *object) (*object, error) {
	meta, err := r.metadata.Resource(o.resource).Namespace(o.namespace).Get(ctx, o.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get %s %s: %w", o.resource.GroupResource(), klog.KRef(o.namespace, o.name), err)
	}
	if meta.UID != o.uid {
		return nil, nil
	}
	return newObject(o.resource, o.kind, meta), nil
}

// reportInvalidNamespace tells once that a reference names an owner that is in
// another namespace.
func (r *Reconciler) reportInvalidNamespace(o *object, reference metav1.OwnerReference) {
	key := string(o.uid) + "/" + string(reference.UID)
	if _, done := r.reported.Get(key); done {
		return
	}
	r.reported.Add(key, nil)
	regarding := &corev1.ObjectReference{
		APIVersion: o.resource.GroupVersion().String(), Kind: o.kind, Namespace: o.namespace, Name: o.name, UID: o.uid,
	}
	r.Events.Eventf(regarding, nil, corev1.EventTypeWarning, "OwnerRefInvalidNamespace", "CollectGarbage",
		"ownerRef [%s/%s, namespace: %s, name: %s, uid: %s] does not exist in namespace %q",
		reference.APIVersion, reference.Kind, o.namespace, reference.Name, reference.UID, o.namespace)
}
