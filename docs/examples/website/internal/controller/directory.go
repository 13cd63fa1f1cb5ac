package controller

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	webv1 "github.com/skiffcluster/skiff/docs/examples/website/api/v1"
)

// +kubebuilder:rbac:groups="",namespace=website-system,resources=configmaps,verbs=get;list;watch;create;update

// CacheOptions are those of a manager: the right to read ConfigMaps is for the
// directory's namespace, and so must be the cache.
func CacheOptions(directory client.ObjectKey) cache.Options {
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&corev1.ConfigMap{}: {Namespaces: map[string]cache.Config{directory.Namespace: {}}},
	}}
}

// entry is a site's key in the directory.
func entry(site *webv1.Website) string { return site.Namespace + "." + site.Name }

// list writes one entry of the directory; an empty address removes it. Several
// sites may be listed at a time: the one that comes late reads again.
func (r *Reconciler) list(ctx context.Context, key, address string) error {
	err := retry.OnError(retry.DefaultRetry, func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }, func() error {
		directory := &corev1.ConfigMap{}
		err := r.Client.Get(ctx, r.Directory, directory)
		switch {
		case apierrors.IsNotFound(err) && address == "":
			return nil
		case apierrors.IsNotFound(err):
			return r.Client.Create(ctx, &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: r.Directory.Namespace, Name: r.Directory.Name},
				Data:       map[string]string{key: address},
			})
		case err != nil:
			return err
		case directory.Data[key] == address:
			return nil
		}
		directory = directory.DeepCopy()
		delete(directory.Data, key)
		if address != "" {
			if directory.Data == nil {
				directory.Data = map[string]string{}
			}
			directory.Data[key] = address
		}
		return r.Client.Update(ctx, directory)
	})
	if err != nil {
		return fmt.Errorf("list in ConfigMap %s: %w", r.Directory, err)
	}
	return nil
}
