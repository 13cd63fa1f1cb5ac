package bootstrap

import (
	"context"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups="",resources=secrets,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;update

// Signer signs the ConfigMap cluster-info.
type Signer struct {
	Client client.Client
	Clock  clock.PassiveClock

	cache client.Reader
}

// SetupWithManager adds the controller to mgr.
func (r *Signer) SetupWithManager(mgr ctrl.Manager) error {
	c, err := newCache(mgr)
	if err != nil {
		return err
	}
	r.cache = c
	key := ctrl.Request{NamespacedName: client.ObjectKey{Namespace: metav1.NamespacePublic, Name: configMapName}}
	always := func(context.Context, client.Object) []ctrl.Request { return []ctrl.Request{key} }
	return turn.NewController(mgr).
		Named("bootstrap-signer-controller").
		WatchesRawSource(source.Kind[client.Object](c, &corev1.ConfigMap{}, handler.EnqueueRequestsFromMapFunc(always))).
		WatchesRawSource(source.Kind[client.Object](c, &corev1.Secret{}, handler.EnqueueRequestsFromMapFunc(always))).
		Complete(r)
}

// Reconcile runs one turn.
func (r *Signer) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	info := &corev1.ConfigMap{}
	if err := r.cache.Get(ctx, req.NamespacedName, info); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	var secrets corev1.SecretList
	if err := r.cache.List(ctx, &secrets, client.InNamespace(metav1.NamespaceSystem)); err != nil {
		return ctrl.Result{}, fmt.Errorf("list bootstrap tokens: %w", err)
	}
	keys, next := signers(secrets.Items, r.Clock.Now())
	data, err := planData(info.Data, keys)
	if err != nil {
		return ctrl.Result{}, err
	}
	result := ctrl.Result{RequeueAfter: next}
	if maps.Equal(info.Data, data) {
		return result, nil
	}
	info.Data = data
	// A conflict is another writer, whose event starts the next turn.
	if err := r.Client.Update(ctx, info); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return ctrl.Result{}, fmt.Errorf("sign %s: %w", configMapName, err)
	}
	return result, nil
}

// planData is what cluster-info should hold: the signatures of all tokens, and
// no others.
func planData(data, keys map[string]string) (map[string]string, error) {
	content, ok := data[kubeConfigKey]
	if !ok {
		return data, nil // nothing to sign yet
	}
	planned := maps.Clone(data)
	maps.DeleteFunc(planned, func(key, _ string) bool { return strings.HasPrefix(key, signatureKey) })
	for id, key := range keys {
		signature, err := sign(content, id, key)
		if err != nil {
			return nil, err
		}
		planned[signatureKey+id] = signature
	}
	return planned, nil
}
