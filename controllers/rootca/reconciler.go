package rootca

import (
	"context"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// Name is the controller's name in logs and metrics.
	Name = "root-ca-certificate-publisher-controller"
	// ConfigMapName is the ConfigMap that every namespace has.
	ConfigMapName = "kube-root-ca.crt"

	key                   = "ca.crt"
	descriptionAnnotation = "kubernetes.io/description"
	description           = "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal service IP or kubernetes.default.svc. " +
		"No other usage is guaranteed across distributions of Kubernetes clusters."
)

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;update

// Reconciler keeps the ConfigMap kube-root-ca.crt of each namespace.
type Reconciler struct {
	Client client.Client
	// RootCA is the PEM bundle to publish.
	RootCA []byte

	configMaps client.Reader
}

// SetupWithManager starts a turn for every namespace that changes and for every
// published ConfigMap that somebody edits or deletes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if len(r.RootCA) == 0 {
		return errors.New("publish the root CA: no certificate is given")
	}
	configMaps, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(),
		Scheme:     mgr.GetScheme(),
		Mapper:     mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.ConfigMap{}: {Field: fields.OneTermEqualSelector(metav1.ObjectNameField, ConfigMapName)},
		},
	})
	if err != nil {
		return fmt.Errorf("watch ConfigMaps %s: %w", ConfigMapName, err)
	}
	if err := mgr.Add(configMaps); err != nil {
		return err
	}
	r.configMaps = configMaps
	return turn.NewController(mgr).
		Named(Name).
		For(&corev1.Namespace{}).
		WatchesRawSource(source.Kind(configMaps, &corev1.ConfigMap{}, handler.TypedEnqueueRequestsFromMapFunc(toNamespace))).
		Complete(r)
}

// Reconcile creates or restores the ConfigMap of one namespace.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	namespace := &corev1.Namespace{}
	if err := r.Client.Get(ctx, req.NamespacedName, namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !namespace.DeletionTimestamp.IsZero() || namespace.Status.Phase != corev1.NamespaceActive {
		return ctrl.Result{}, nil
	}
	found := &corev1.ConfigMap{}
	err := r.configMaps.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: ConfigMapName}, found)
	switch {
	case apierrors.IsNotFound(err):
		err = r.Client.Create(ctx, plan(nil, namespace.Name, r.RootCA))
		// A create that the cache has not shown yet answers AlreadyExists: its
		// event starts the next turn, which compares the content.
		if apierrors.IsAlreadyExists(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			err = nil
		}
	case err == nil:
		if changed := plan(found, namespace.Name, r.RootCA); changed != nil {
			err = r.Client.Update(ctx, changed)
			if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
				err = nil // changed since: its event starts the next turn
			}
		}
	}
	if err != nil {
		return ctrl.Result{}, fmt.Errorf("publish ConfigMap %s/%s: %w", namespace.Name, ConfigMapName, err)
	}
	return ctrl.Result{}, nil
}

func toNamespace(_ context.Context, object *corev1.ConfigMap) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: client.ObjectKey{Name: object.Namespace}}}
}

// plan returns the ConfigMap to write, nil when the one found is right. Data is
// exactly the bundle; the description is given once an update is due anyhow or
// is missing, other annotations and labels are the users'.
func plan(found *corev1.ConfigMap, namespace string, rootCA []byte) *corev1.ConfigMap {
	data := map[string]string{key: string(rootCA)}
	if found == nil {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Namespace:   namespace,
				Name:        ConfigMapName,
				Annotations: map[string]string{descriptionAnnotation: description},
			},
			Data: data,
		}
	}
	if maps.Equal(found.Data, data) && found.Annotations[descriptionAnnotation] != "" {
		return nil
	}
	changed := found.DeepCopy()
	changed.Data = data
	if changed.Annotations == nil {
		changed.Annotations = map[string]string{}
	}
	changed.Annotations[descriptionAnnotation] = description
	return changed
}
