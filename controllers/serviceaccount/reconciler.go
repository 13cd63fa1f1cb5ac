package serviceaccount

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// Name is the controller's name in logs and metrics.
const Name = "serviceaccount-controller"

// defaultAccounts are the accounts that every namespace has.
var defaultAccounts = []string{"default"}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;create

// Reconciler keeps the default service accounts of each namespace.
type Reconciler struct {
	Client client.Client
}

// SetupWithManager starts a turn for every namespace that changes and for every
// default account that is deleted.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	deletedDefault := predicate.Funcs{
		CreateFunc:  func(event.CreateEvent) bool { return false },
		UpdateFunc:  func(event.UpdateEvent) bool { return false },
		GenericFunc: func(event.GenericEvent) bool { return false },
		DeleteFunc:  func(e event.DeleteEvent) bool { return isDefault(e.Object.GetName()) },
	}
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Namespace{}).
		Watches(&corev1.ServiceAccount{}, handler.EnqueueRequestsFromMapFunc(toNamespace), builder.WithPredicates(deletedDefault)).
		Complete(r)
}

// Reconcile creates what is missing in one namespace.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	namespace := &corev1.Namespace{}
	if err := r.Client.Get(ctx, req.NamespacedName, namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !namespace.DeletionTimestamp.IsZero() || namespace.Status.Phase != corev1.NamespaceActive {
		return ctrl.Result{}, nil
	}
	var errs []error
	for _, name := range defaultAccounts {
		if err := r.ensureAccount(ctx, namespace.Name, name); err != nil {
			errs = append(errs, fmt.Errorf("create service account %s/%s: %w", namespace.Name, name, err))
		}
	}
	return ctrl.Result{}, errors.Join(errs...)
}

func (r *Reconciler) ensureAccount(ctx context.Context, namespace, name string) error {
	account := &corev1.ServiceAccount{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, account, client.UnsafeDisableDeepCopy)
	if err == nil || !apierrors.IsNotFound(err) {
		return err
	}
	err = r.Client.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}})
	if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}

func isDefault(name string) bool {
	for _, known := range defaultAccounts {
		if name == known {
			return true
		}
	}
	return false
}

func toNamespace(_ context.Context, object client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: object.GetNamespace()}}}
}
