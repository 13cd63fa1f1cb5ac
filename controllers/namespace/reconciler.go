package namespace

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// Name is the controller's name in logs and metrics.
	Name = "namespace-controller"

	// settle is how long after the first look a namespace is looked at for the
	// last time. The API server refuses new content as soon as it knows that
	// the namespace is being deleted, and another of several may learn it a
	// moment later. (Upstream waits five seconds, before it does anything.)
	settle = 200 * time.Millisecond

	// firstWait doubles with every look at a namespace that is not empty, up to
	// half of the time that the rest is thought to take.
	firstWait = 50 * time.Millisecond
)

// +kubebuilder:rbac:groups="*",resources="*",verbs=get;list;delete;deletecollection
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces/status;namespaces/finalize,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch

// Reconciler empties and finalizes namespaces that are being deleted.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache.
	Live  client.Reader
	Clock clock.PassiveClock
	// Concurrency is the number of namespaces worked on at a time. Zero: 10.
	Concurrency int

	metadata metadata.Interface
	discover discovery.DiscoveryInterfaceWithContext

	mu    sync.Mutex
	looks map[string]looks
}

// looks remembers how often, and since when, a namespace has been looked at.
type looks struct {
	uid   types.UID
	first time.Time
	count int
}

// SetupWithManager starts a turn for every namespace that is being deleted, and
// again when the last of its pods is gone.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Live == nil {
		r.Live = mgr.GetAPIReader()
	}
	if r.Concurrency == 0 {
		r.Concurrency = 10
	}
	r.looks = map[string]looks{}
	config := rest.CopyConfig(mgr.GetConfig())
	var err error
	if r.metadata, err = metadata.NewForConfigAndClient(metadata.ConfigFor(config), mgr.GetHTTPClient()); err != nil {
		return fmt.Errorf("make a metadata client: %w", err)
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfigAndClient(config, mgr.GetHTTPClient())
	if err != nil {
		return fmt.Errorf("make a discovery client: %w", err)
	}
	r.discover = discoveryClient
	deleting := predicate.NewPredicateFuncs(func(object client.Object) bool { return !object.GetDeletionTimestamp().IsZero() })
	podGone := predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
	}
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Namespace{}, builder.WithPredicates(deleting)).
		Watches(&corev1.Pod{}, handler.EnqueueRequestsFromMapFunc(r.emptiedNamespace), builder.WithPredicates(podGone)).
		WithOptions(turn.WithQueue(controller.Options{
			MaxConcurrentReconciles: r.Concurrency,
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](5*time.Millisecond, time.Minute),
		})).
		Complete(r)
}

// emptiedNamespace is the namespace of a pod that is gone, when it is being
// deleted and has no other pod.
func (r *Reconciler) emptiedNamespace(ctx context.Context, pod client.Object) []reconcile.Request {
	key := client.ObjectKey{Name: pod.GetNamespace()}
	namespace := &corev1.Namespace{}
	if err := r.Client.Get(ctx, key, namespace, client.UnsafeDisableDeepCopy); err != nil || namespace.DeletionTimestamp.IsZero() {
		return nil
	}
	others := &corev1.PodList{}
	if err := r.Client.List(ctx, others, client.InNamespace(key.Name), client.Limit(1), client.UnsafeDisableDeepCopy); err != nil || len(others.Items) > 0 {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

// Reconcile takes one look at a namespace that is being deleted.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	namespace := &corev1.Namespace{}
	if err := r.Live.Get(ctx, req.NamespacedName, namespace); err != nil {
		if apierrors.IsNotFound(err) {
			r.forget(req.Name)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if namespace.DeletionTimestamp.IsZero() || !slices.Contains(namespace.Spec.Finalizers, corev1.FinalizerKubernetes) {
		r.forget(req.Name) // not ours to empty, or emptied
		return ctrl.Result{}, nil
	}
	seen := r.look(namespace)
	found, err := r.empty(ctx, namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !found.clean() {
		if err := r.writeStatus(ctx, namespace, found); err != nil {
			return ctrl.Result{}, err
		}
		if err := found.err(); err != nil {
			return ctrl.Result{}, fmt.Errorf("empty namespace %s: %w", namespace.Name, err)
		}
		return ctrl.Result{RequeueAfter: wait(seen.count, found.estimate)}, nil
	}
	if rest := seen.first.Add(settle).Sub(r.Clock.Now()); rest > 0 {
		return ctrl.Result{RequeueAfter: rest}, nil
	}
	if err := r.finalize(ctx, namespace); err != nil {
		return ctrl.Result{}, err
	}
	r.forget(namespace.Name)
	return ctrl.Result{}, nil
}

// empty deletes the content: pods first, so that nothing they rely on (their
// Secrets, a NetworkPolicy) goes while they still run; then all other kinds.
func (r *Reconciler) empty(ctx context.Context, namespace *corev1.Namespace) (*findings, error) {
	found := newFindings()
	lists, err := r.discover.ServerPreferredNamespacedResourcesWithContext(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		found.discoveryErr = err // some groups may have answered
	}
	var resources []resource
	resources, found.versionErrs = planResources(lists)
	var pods, others []resource
	for _, each := range resources {
		if each.gvr == podResource {
			pods = append(pods, each)
		} else {
			others = append(others, each)
		}
	}
	empty(ctx, r.metadata, namespace.Name, pods, found)
	if found.remaining[podResource] > 0 {
		running := &corev1.PodList{}
		if err := r.Client.List(ctx, running, client.InNamespace(namespace.Name), client.UnsafeDisableDeepCopy); err != nil {
			return nil, fmt.Errorf("list pods of namespace %s: %w", namespace.Name, err)
		}
		elapsed := r.Clock.Since(namespace.DeletionTimestamp.Time)
		found.estimate = max(found.estimate, stopEstimate(running.Items, int64(elapsed.Seconds())), 1)
		return found, nil
	}
	if len(found.contentErrs) > 0 {
		return found, nil
	}
	empty(ctx, r.metadata, namespace.Name, others, found)
	return found, nil
}

// writeStatus tells what is left and why.
func (r *Reconciler) writeStatus(ctx context.Context, namespace *corev1.Namespace, found *findings) error {
	status := planStatus(namespace.Status, found, r.Clock.Now())
	if status == nil {
		return nil
	}
	changed := namespace.DeepCopy()
	changed.Status = *status
	err := r.Client.Status().Update(ctx, changed)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("write status of namespace %s: %w", namespace.Name, err)
	}
	return nil // changed or gone meanwhile: the next look tells
}

// finalize removes our finalizer from spec; the API server deletes the namespace
// with the last one.
func (r *Reconciler) finalize(ctx context.Context, namespace *corev1.Namespace) error {
	changed := namespace.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(name corev1.FinalizerName) bool {
		return name == corev1.FinalizerKubernetes
	})
	err := r.Client.SubResource("finalize").Update(ctx, changed)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("finalize namespace %s: %w", namespace.Name, err)
	}
	ctrl.LoggerFrom(ctx).Info("Emptied namespace")
	return nil
}

func (r *Reconciler) look(namespace *corev1.Namespace) looks {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := r.looks[namespace.Name]
	if seen.uid != namespace.UID {
		seen = looks{uid: namespace.UID, first: r.Clock.Now()}
	}
	seen.count++
	r.looks[namespace.Name] = seen
	return seen
}

func (r *Reconciler) forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.looks, name)
}

// wait is the time until the next look at a namespace that is not empty: soon at
// first, then half of the estimated seconds and one more, as upstream. The last
// pod to go and an error start a look of their own.
func wait(looks int, estimate int64) time.Duration {
	most := time.Duration(estimate/2+1) * time.Second
	if looks > 16 {
		return most
	}
	return min(firstWait<<(looks-1), most)
}
