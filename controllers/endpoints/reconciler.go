package endpoints

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/client-go/util/workqueue"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/endpointslice"
	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// Name is the controller's name in logs, metrics and labels.
	Name = "endpoint-controller"

	// batch is the shortest time between two turns of one service.
	batch = 100 * time.Millisecond
)

// +kubebuilder:rbac:groups="",resources=services;pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=endpoints,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups="",resources=endpoints/restricted,verbs=create

// Reconciler keeps the Endpoints of each service with a selector.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder
	// Concurrency is the number of services worked on at a time. Zero: 5.
	Concurrency int

	triggers *endpointsliceutil.TriggerTimeTracker
	pace     endpointslice.Pace

	// deleted has the services seen to be deleted: their Endpoints go with them,
	// whoever made them.
	mu      sync.Mutex
	deleted map[types.NamespacedName]bool
}

// SetupWithManager starts a turn for every service that changes, for those that
// select a pod that changes, and for Endpoints that are deleted or, at start,
// may have outlived their service.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(Name)
	}
	if r.Concurrency == 0 {
		r.Concurrency = 5
	}
	r.triggers = endpointsliceutil.NewTriggerTimeTracker()
	r.pace.Interval = batch
	r.deleted = map[types.NamespacedName]bool{}
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Service{}, builder.WithPredicates(predicate.Funcs{DeleteFunc: func(e event.DeleteEvent) bool {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.deleted[client.ObjectKeyFromObject(e.Object)] = true
			return true
		}})).
		Watches(&corev1.Pod{}, endpointslice.PodHandler(r.Client)).
		Watches(&corev1.Endpoints{}, endpointsHandler).
		WithOptions(turn.WithQueue(controller.Options{MaxConcurrentReconciles: r.Concurrency})).
		Complete(r)
}

// endpointsHandler leaves out new Endpoints after the start: users make those of
// services without selector before the service, and they must not be taken for
// leftovers.
var endpointsHandler = handler.Funcs{
	CreateFunc: func(_ context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		if e.IsInInitialList {
			q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)})
		}
	},
	DeleteFunc: func(_ context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		q.Add(reconcile.Request{NamespacedName: client.ObjectKeyFromObject(e.Object)})
	},
}

// Reconcile brings one service's Endpoints in line with its pods.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	service := &corev1.Service{}
	if err := r.Client.Get(ctx, req.NamespacedName, service); err != nil {
		if apierrors.IsNotFound(err) {
			return ctrl.Result{}, r.deleteLeftover(ctx, req)
		}
		return ctrl.Result{}, err
	}
	r.mu.Lock()
	delete(r.deleted, req.NamespacedName) // it is back
	r.mu.Unlock()
	if service.Spec.Type == corev1.ServiceTypeExternalName || service.Spec.Selector == nil {
		return ctrl.Result{}, nil
	}
	if wait := r.pace.Wait(req.NamespacedName, r.Clock.Now()); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	pods, err := r.listPods(ctx, service)
	if err != nil {
		return ctrl.Result{}, err
	}
	var found *corev1.Endpoints
	current := &corev1.Endpoints{}
	err = r.Client.Get(ctx, req.NamespacedName, current)
	switch {
	case err == nil:
		found = current
	case !apierrors.IsNotFound(err):
		return ctrl.Result{}, err
	}
	changed := r.triggers.ComputeEndpointLastChangeTriggerTime(service.Namespace, service, pods)
	endpoints := plan(service, pods, found, changed)
	if endpoints == nil {
		return ctrl.Result{}, nil
	}
	if found == nil {
		return r.create(ctx, service, endpoints)
	}
	return r.update(ctx, service, endpoints)
}

func (r *Reconciler) create(ctx context.Context, service *corev1.Service, endpoints *corev1.Endpoints) (ctrl.Result, error) {
	err := r.Client.Create(ctx, endpoints)
	switch {
	case err == nil, apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return ctrl.Result{}, nil
	case apierrors.IsAlreadyExists(err):
		return ctrl.Result{RequeueAfter: batch}, nil // our own or a user's, soon in the cache
	}
	r.Events.Eventf(service, nil, corev1.EventTypeWarning, "FailedToCreateEndpoint", "UpdateEndpoints",
		"Failed to create endpoint for service %s/%s: %v", service.Namespace, service.Name, err)
	return ctrl.Result{}, fmt.Errorf("create endpoints %s: %w", klog.KObj(endpoints), err)
}

func (r *Reconciler) update(ctx context.Context, service *corev1.Service, endpoints *corev1.Endpoints) (ctrl.Result, error) {
	err := r.Client.Update(ctx, endpoints)
	switch {
	case err == nil:
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err), apierrors.IsNotFound(err):
		return ctrl.Result{RequeueAfter: batch}, nil // the cache is behind
	}
	r.Events.Eventf(service, nil, corev1.EventTypeWarning, "FailedToUpdateEndpoint", "UpdateEndpoints",
		"Failed to update endpoint %s/%s: %v", service.Namespace, service.Name, err)
	return ctrl.Result{}, fmt.Errorf("update endpoints %s: %w", klog.KObj(endpoints), err)
}

// deleteLeftover deletes the Endpoints of a service that is gone: those made
// here, and any when the service was seen to go. Users may make Endpoints before
// their service, and old leader elections use some as a lock.
func (r *Reconciler) deleteLeftover(ctx context.Context, req ctrl.Request) error {
	r.triggers.DeleteService(req.Namespace, req.Name)
	r.pace.Forget(req.NamespacedName)
	r.mu.Lock()
	seen := r.deleted[req.NamespacedName]
	delete(r.deleted, req.NamespacedName)
	r.mu.Unlock()
	endpoints := &corev1.Endpoints{}
	if err := r.Client.Get(ctx, req.NamespacedName, endpoints); err != nil {
		return client.IgnoreNotFound(err)
	}
	if !seen && endpoints.Labels[managedByLabel] != Name {
		return nil
	}
	if _, isLock := endpoints.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]; isLock {
		return nil
	}
	err := r.Client.Delete(ctx, endpoints, client.Preconditions{UID: &endpoints.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.deleted[req.NamespacedName] = seen
		return fmt.Errorf("delete endpoints %s: %w", klog.KObj(endpoints), err)
	}
	return nil
}

func (r *Reconciler) listPods(ctx context.Context, service *corev1.Service) ([]*corev1.Pod, error) {
	list := &corev1.PodList{}
	err := r.Client.List(ctx, list, client.InNamespace(service.Namespace), client.UnsafeDisableDeepCopy,
		client.MatchingLabelsSelector{Selector: labels.Set(service.Spec.Selector).AsSelectorPreValidated()})
	if err != nil {
		return nil, fmt.Errorf("list pods of service %s: %w", klog.KObj(service), err)
	}
	pods := make([]*corev1.Pod, 0, len(list.Items))
	for i := range list.Items {
		pods = append(pods, &list.Items[i])
	}
	return pods, nil
}
