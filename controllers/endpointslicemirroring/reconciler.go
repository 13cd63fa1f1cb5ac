package endpointslicemirroring

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/endpointslice"
	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// Name is the controller's name in logs and events.
	Name = "endpointslice-mirroring-controller"
	// ManagedBy is the label value that marks the slices written here.
	ManagedBy = "endpointslicemirroring-controller.k8s.io"

	// again is the wait for the cache to show what was just written.
	again = 100 * time.Millisecond
)

// +kubebuilder:rbac:groups="",resources=services;endpoints,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=endpoints/finalizers,verbs=update
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch;create;update;delete

// Reconciler mirrors Endpoints into EndpointSlices.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	tracker *endpointsliceutil.EndpointSliceTracker
	lag     endpointslice.Lag
}

// SetupWithManager starts a turn for Endpoints that change, services that change
// whether they have a selector, and slices of ours that somebody touches.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(Name)
	}
	r.tracker = endpointsliceutil.NewEndpointSliceTracker()
	selectorChanged := predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.Service)
			after, ok2 := e.ObjectNew.(*corev1.Service)
			return ok1 && ok2 && (before.Spec.Selector == nil) != (after.Spec.Selector == nil)
		},
	}
	changed := predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return e.ObjectOld.GetResourceVersion() != e.ObjectNew.GetResourceVersion()
		},
	}
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Endpoints{}, builder.WithPredicates(changed)).
		Watches(&corev1.Service{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(selectorChanged)).
		Watches(&discoveryv1.EndpointSlice{}, r.sliceHandler()).
		Complete(r)
}

// sliceHandler starts a turn when somebody else touched a slice of ours.
func (r *Reconciler) sliceHandler() handler.EventHandler {
	type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]
	ours := func(object client.Object) (*discoveryv1.EndpointSlice, bool) {
		slice, ok := object.(*discoveryv1.EndpointSlice)
		return slice, ok && slice.Labels[discoveryv1.LabelManagedBy] == ManagedBy
	}
	add := func(q queue, slice *discoveryv1.EndpointSlice) {
		q.Add(reconcile.Request{NamespacedName: client.ObjectKey{Namespace: slice.Namespace, Name: slice.Labels[discoveryv1.LabelServiceName]}})
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if slice, ok := ours(e.Object); ok && r.tracker.ShouldSync(slice) {
				add(q, slice)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, wasOurs := ours(e.ObjectOld)
			after, isOurs := ours(e.ObjectNew)
			if isOurs && (!wasOurs || r.tracker.ShouldSync(after)) {
				add(q, after)
			}
			if wasOurs && (!isOurs || before.Labels[discoveryv1.LabelServiceName] != after.Labels[discoveryv1.LabelServiceName]) {
				add(q, before)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if slice, ok := ours(e.Object); ok && r.tracker.Has(slice) && !r.tracker.HandleDeletion(slice) {
				add(q, slice)
			}
		},
	}
}

// Reconcile brings the slices in line with one service's Endpoints.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	endpoints, service := &corev1.Endpoints{}, &corev1.Service{}
	if err := r.Client.Get(ctx, req.NamespacedName, endpoints); err != nil {
		if !apierrors.IsNotFound(err) {
			return ctrl.Result{}, err
		}
		endpoints = nil
	}
	if err := r.Client.Get(ctx, req.NamespacedName, service); err != nil {
		if !apierrors.IsNotFound(err) {
			return ctrl.Result{}, err
		}
		service = nil
	}
	existing, err := r.listSlices(ctx, req)
	if err != nil {
		return ctrl.Result{}, err
	}
	if !isMirrored(endpoints, service) {
		r.tracker.DeleteService(req.Namespace, req.Name)
		r.lag.Over(req.NamespacedName)
		return ctrl.Result{}, r.deleteAll(ctx, existing)
	}
	if r.tracker.StaleSlices(service, existing) {
		if !r.lag.TooLong(req.NamespacedName, r.Clock.Now()) {
			return ctrl.Result{RequeueAfter: again}, nil
		}
		r.tracker.DeleteService(req.Namespace, req.Name)
	}
	r.lag.Over(req.NamespacedName)
	p := planSlices(endpoints, existing)
	if p.invalid > 0 {
		r.Events.Eventf(endpoints, nil, corev1.EventTypeWarning, "InvalidIPAddress", "MirrorEndpoints",
			"Skipped %d invalid IP addresses when mirroring to EndpointSlices", p.invalid)
	}
	if p.excess > 0 {
		r.Events.Eventf(endpoints, nil, corev1.EventTypeWarning, "TooManyAddressesToMirror", "MirrorEndpoints",
			"A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", maxPerSubset, p.excess+p.invalid)
	}
	return r.apply(ctx, endpoints, p)
}

// apply writes the plan. Updates come before deletions, so that no address is
// missing in between.
func (r *Reconciler) apply(ctx context.Context, endpoints *corev1.Endpoints, p plan) (ctrl.Result, error) {
	var errs []error
	for _, slice := range p.create {
		err := r.Client.Create(ctx, slice)
		switch {
		case err == nil:
			r.tracker.Update(slice)
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return ctrl.Result{}, nil
		default:
			errs = append(errs, fmt.Errorf("create EndpointSlice for %s: %w", klog.KObj(endpoints), err))
		}
	}
	for _, slice := range p.update {
		if err := r.Client.Update(ctx, slice); err != nil {
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				return ctrl.Result{RequeueAfter: again}, nil
			}
			errs = append(errs, fmt.Errorf("update EndpointSlice %s: %w", klog.KObj(slice), err))
			continue
		}
		r.tracker.Update(slice)
	}
	errs = append(errs, r.deleteAll(ctx, p.delete))
	err := errors.Join(errs...)
	if err != nil {
		r.Events.Eventf(endpoints, nil, corev1.EventTypeWarning, "FailedToUpdateEndpointSlices", "MirrorEndpoints",
			"Error updating Endpoint Slices for Endpoints %s/%s: %v", endpoints.Namespace, endpoints.Name, err)
	}
	return ctrl.Result{}, err
}

func (r *Reconciler) deleteAll(ctx context.Context, list []*discoveryv1.EndpointSlice) error {
	var errs []error
	for _, slice := range list {
		err := r.Client.Delete(ctx, slice, client.Preconditions{UID: &slice.UID})
		switch {
		case err == nil:
			r.tracker.ExpectDeletion(slice)
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
			errs = append(errs, fmt.Errorf("delete EndpointSlice %s: %w", klog.KObj(slice), err))
		}
	}
	return errors.Join(errs...)
}

func (r *Reconciler) listSlices(ctx context.Context, req ctrl.Request) ([]*discoveryv1.EndpointSlice, error) {
	list := &discoveryv1.EndpointSliceList{}
	labels := client.MatchingLabels{discoveryv1.LabelServiceName: req.Name, discoveryv1.LabelManagedBy: ManagedBy}
	if err := r.Client.List(ctx, list, client.InNamespace(req.Namespace), labels); err != nil {
		return nil, fmt.Errorf("list EndpointSlices of service %s: %w", req.NamespacedName, err)
	}
	var slices []*discoveryv1.EndpointSlice
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp.IsZero() {
			slices = append(slices, &list.Items[i])
		}
	}
	byName(slices)
	return slices, nil
}
