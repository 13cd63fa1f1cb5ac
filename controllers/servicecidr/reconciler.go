package servicecidr

import (
	"context"
	"fmt"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// Name is the controller's name in logs and metrics, upstream's.
	Name = "service-cidr-controller"
	// Finalizer keeps a range that has addresses, upstream's.
	Finalizer = "networking.k8s.io/service-cidr-finalizer"
	// grace is how long a range that goes waits once it looks unused: an API
	// server that has not seen its end may still give addresses out.
	grace = 10 * time.Second
)

// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs,verbs=get;list;watch;patch;update
// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs/finalizers,verbs=patch;update
// +kubebuilder:rbac:groups=networking.k8s.io,resources=servicecidrs/status,verbs=patch;update
// +kubebuilder:rbac:groups=networking.k8s.io,resources=ipaddresses,verbs=get;list;watch

// Reconciler keeps the state of ServiceCIDRs.
type Reconciler struct {
	Client client.Client
}

// SetupWithManager starts a turn for every range, and for those that wait for
// their end when an address goes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named(Name).
		For(&networkingv1.ServiceCIDR{}).
		Watches(&networkingv1.IPAddress{}, handler.EnqueueRequestsFromMapFunc(r.ending)).
		Complete(r)
}

func (r *Reconciler) ending(ctx context.Context, _ client.Object) []reconcile.Request {
	var list networkingv1.ServiceCIDRList
	if err := r.Client.List(ctx, &list); err != nil {
		return nil // the cache is stopping
	}
	var out []reconcile.Request
	for i := range list.Items {
		if list.Items[i].DeletionTimestamp != nil {
			out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return out
}

// Reconcile readies one range, or lets it go.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	c := &networkingv1.ServiceCIDR{}
	if err := r.Client.Get(ctx, req.NamespacedName, c); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if c.DeletionTimestamp != nil {
		return r.end(ctx, c)
	}
	if before := c.DeepCopy(); controllerutil.AddFinalizer(c, Finalizer) {
		if err := r.Client.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
			if superseded(err) {
				return ctrl.Result{}, nil
			}
			return ctrl.Result{}, fmt.Errorf("add finalizer to service CIDR %s: %w", c.Name, err)
		}
	}
	return ctrl.Result{}, r.setReady(ctx, c, metav1.ConditionTrue, "", "Kubernetes Service CIDR is ready")
}

func (r *Reconciler) end(ctx context.Context, c *networkingv1.ServiceCIDR) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(c, Finalizer) {
		return ctrl.Result{}, nil
	}
	var all networkingv1.ServiceCIDRList
	var addresses networkingv1.IPAddressList
	if err := r.Client.List(ctx, &all, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list service CIDRs: %w", err)
	}
	if err := r.Client.List(ctx, &addresses, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list addresses: %w", err)
	}
	if inUse(c, all.Items, addresses.Items) {
		return ctrl.Result{}, r.setReady(ctx, c, metav1.ConditionFalse, networkingv1.ServiceCIDRReasonTerminating,
			"There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR")
	}
	if wait := grace - time.Since(c.DeletionTimestamp.Time); wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	before := c.DeepCopy()
	controllerutil.RemoveFinalizer(c, Finalizer)
	if err := r.Client.Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})); err != nil {
		if superseded(err) {
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("remove finalizer from service CIDR %s: %w", c.Name, err)
	}
	return ctrl.Result{}, nil
}

// superseded says that a write was of an older version: of the newer one, or of
// its end, the watch will tell.
func superseded(err error) bool { return apierrors.IsConflict(err) || apierrors.IsNotFound(err) }

func (r *Reconciler) setReady(ctx context.Context, c *networkingv1.ServiceCIDR, status metav1.ConditionStatus, reason, message string) error {
	before := c.DeepCopy()
	if !meta.SetStatusCondition(&c.Status.Conditions, metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: status, Reason: reason, Message: message,
	}) {
		return nil
	}
	err := r.Client.Status().Patch(ctx, c, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !superseded(err) {
		return fmt.Errorf("write status of service CIDR %s: %w", c.Name, err)
	}
	return nil
}
