package bootstrap

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// Cleaner deletes tokens that have expired.
type Cleaner struct {
	Client client.Client
	Clock  clock.PassiveClock

	cache client.Reader
}

// SetupWithManager adds the controller to mgr.
func (r *Cleaner) SetupWithManager(mgr ctrl.Manager) error {
	c, err := newCache(mgr)
	if err != nil {
		return err
	}
	r.cache = c
	return turn.NewController(mgr).
		Named("token-cleaner-controller").
		WatchesRawSource(source.Kind(c, &corev1.Secret{}, &handler.TypedEnqueueRequestForObject[*corev1.Secret]{})).
		Complete(r)
}

// Reconcile deletes one token when its time has come.
func (r *Cleaner) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	secret := &corev1.Secret{}
	if err := r.cache.Get(ctx, req.NamespacedName, secret); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	end := expiry(secret)
	if end.IsZero() {
		return ctrl.Result{}, nil
	}
	if left := end.Sub(r.Clock.Now()); left > 0 {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	err := r.Client.Delete(ctx, secret, client.Preconditions{UID: &secret.UID})
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("delete expired token %s: %w", klog.KObj(secret), err)
	}
	klog.FromContext(ctx).Info("Deleted expired bootstrap token", "Secret", klog.KObj(secret))
	return ctrl.Result{}, nil
}
