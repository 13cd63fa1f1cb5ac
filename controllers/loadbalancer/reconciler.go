package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
	"github.com/skiffcluster/skiff/internal/addrpool"
)

const (
	// Name is the controller's name in logs and metrics: upstream's for the
	// one that asks a cloud.
	Name = "service-lb-controller"
	// eventSource is the reporter of its events, upstream's.
	eventSource = "service-controller"
	// again is when a service that got no address tries once more.
	again = 10 * time.Second
)

// +kubebuilder:rbac:groups="",resources=services;nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=services/status,verbs=patch;update
// +kubebuilder:rbac:groups=discovery.k8s.io,resources=endpointslices,verbs=get;list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch;update

// Reconciler gives services their load-balancer addresses.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
	// Pool is what addresses are given from, as addrpool.Parse reads it. Empty:
	// services get the addresses of the nodes.
	Pool string

	pool  addrpool.Pool
	taken claims // by the one worker only; nil before the first turn
}

// SetupWithManager starts a turn for every service that is, was or looks like
// a load balancer's, and for all of them when nodes change.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	var err error
	if r.pool, err = addrpool.Parse(r.Pool); err != nil {
		return fmt.Errorf("load-balancer pool: %w", err)
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(eventSource)
	}
	balanced := predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return concerns(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return concerns(e.ObjectOld) || concerns(e.ObjectNew) },
		DeleteFunc: func(e event.DeleteEvent) bool { return concerns(e.Object) },
	}
	b := turn.NewController(mgr).
		Named(Name).
		For(&corev1.Service{}, builder.WithPredicates(balanced)).
		// One at a time: what is taken belongs to the one worker.
		WithOptions(turn.WithQueue(controller.Options{MaxConcurrentReconciles: 1}))
	if len(r.pool) == 0 {
		b = b.Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.allServices), builder.WithPredicates(nodeChanges())).
			Watches(&discoveryv1.EndpointSlice{}, handler.EnqueueRequestsFromMapFunc(r.serviceOf))
	}
	return b.Complete(r)
}

func concerns(o client.Object) bool {
	svc, ok := o.(*corev1.Service)
	return ok && (svc.Spec.Type == corev1.ServiceTypeLoadBalancer || len(svc.Status.LoadBalancer.Ingress) > 0)
}

// nodeChanges lets through what decides whether and where a node serves, and
// no heartbeat.
func nodeChanges() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return ok1 && ok2 && (serves(before) != serves(after) || !equality.Semantic.DeepEqual(before.Status.Addresses, after.Status.Addresses))
	}}
}

func (r *Reconciler) allServices(ctx context.Context, _ client.Object) []reconcile.Request {
	var list corev1.ServiceList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return nil // the cache is stopping
	}
	var out []reconcile.Request
	for i := range list.Items {
		if svc := &list.Items[i]; ours(svc) {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(svc)})
		}
	}
	return out
}

// serviceOf returns the slice's service if its policy makes endpoints matter.
func (r *Reconciler) serviceOf(ctx context.Context, o client.Object) []reconcile.Request {
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.GetLabels()[discoveryv1.LabelServiceName]}
	svc := &corev1.Service{}
	if key.Name == "" || r.Client.Get(ctx, key, svc) != nil || !ours(svc) || svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	return []reconcile.Request{{NamespacedName: key}}
}

// Reconcile gives one service its addresses, or takes them back.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := r.start(ctx); err != nil {
		return ctrl.Result{}, err
	}
	svc := &corev1.Service{}
	if err := r.Client.Get(ctx, req.NamespacedName, svc); err != nil {
		r.taken.keep(req.String(), nil)
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !ours(svc) {
		r.taken.keep(req.String(), nil)
		if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
			return ctrl.Result{}, r.write(ctx, svc, nil)
		}
		return ctrl.Result{}, nil // another's
	}
	want, err := r.plan(ctx, svc, req.String())
	if err != nil {
		if !errors.Is(err, errRefused) {
			return ctrl.Result{}, err
		}
		r.Events.Eventf(svc, nil, corev1.EventTypeWarning, "SyncLoadBalancerFailed", "EnsureLoadBalancer",
			"Error syncing load balancer: failed to ensure load balancer: %v", errors.Unwrap(err))
		r.taken.keep(req.String(), nil)
		return ctrl.Result{RequeueAfter: again}, r.write(ctx, svc, nil)
	}
	if len(r.pool) > 0 {
		r.taken.keep(req.String(), want)
	}
	return ctrl.Result{}, r.write(ctx, svc, want)
}

// errRefused marks what the service's owner must change, or wait for.
var errRefused = errors.New("refused")

type refusal struct{ error }

func (refusal) Is(target error) bool { return target == errRefused }
func (r refusal) Unwrap() error      { return r.error }

func (r *Reconciler) plan(ctx context.Context, svc *corev1.Service, key string) ([]corev1.LoadBalancerIngress, error) {
	if len(r.pool) > 0 {
		want, err := planPool(svc, key, r.pool, r.taken)
		if err != nil {
			return nil, refusal{err}
		}
		return want, nil
	}
	var all corev1.ServiceList
	var nodes corev1.NodeList
	var slices discoveryv1.EndpointSliceList
	if err := errors.Join(
		r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy),
		r.Client.List(ctx, &nodes, client.UnsafeDisableDeepCopy),
		r.Client.List(ctx, &slices, client.UnsafeDisableDeepCopy, client.InNamespace(svc.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: svc.Name}),
	); err != nil {
		return nil, fmt.Errorf("list what service %s depends on: %w", key, err)
	}
	if err := conflict(svc, all.Items); err != nil {
		return nil, refusal{err}
	}
	return planNodes(svc, nodes.Items, slices.Items), nil
}

// start notes what all services have, before the first is given anything.
func (r *Reconciler) start(ctx context.Context) error {
	if r.taken != nil {
		return nil
	}
	var list corev1.ServiceList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list services: %w", err)
	}
	// The older one keeps an address that two should have got.
	slices.SortFunc(list.Items, func(a, b corev1.Service) int {
		if before(&a, &b) {
			return 1
		}
		return -1
	})
	taken := claims{}
	for i := range list.Items {
		if svc := &list.Items[i]; ours(svc) {
			taken.keep(client.ObjectKeyFromObject(svc).String(), svc.Status.LoadBalancer.Ingress)
		}
	}
	r.taken = taken
	return nil
}

// keep notes that key has these addresses and no others.
func (c claims) keep(key string, in []corev1.LoadBalancerIngress) {
	for a, owner := range c {
		if owner == key {
			delete(c, a)
		}
	}
	for i := range in {
		if a, err := netip.ParseAddr(in[i].IP); err == nil {
			c[a] = key
		}
	}
}

func (r *Reconciler) write(ctx context.Context, svc *corev1.Service, want []corev1.LoadBalancerIngress) error {
	if sameAddresses(svc.Status.LoadBalancer.Ingress, want) {
		return nil
	}
	after := svc.DeepCopy()
	after.Status.LoadBalancer.Ingress = want
	err := r.Client.Status().Patch(ctx, after, client.MergeFromWithOptions(svc, client.MergeFromWithOptimisticLock{}))
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return client.IgnoreNotFound(err) // the newer version starts a turn of its own
	}
	if err != nil {
		return fmt.Errorf("write load-balancer status of service %s/%s: %w", svc.Namespace, svc.Name, err)
	}
	if len(want) > 0 {
		r.Events.Eventf(svc, nil, corev1.EventTypeNormal, "EnsuredLoadBalancer", "EnsureLoadBalancer", "Ensured load balancer")
	}
	return nil
}

func sameAddresses(a, b []corev1.LoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.LoadBalancerIngress) bool {
		return x.IP == y.IP && x.Hostname == y.Hostname && equality.Semantic.DeepEqual(x.IPMode, y.IPMode)
	})
}
