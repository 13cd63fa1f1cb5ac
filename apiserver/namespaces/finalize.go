// Package namespaces serves what only namespaces have: finalize, by which the
// namespace controller says that the content is gone, and a deletion that
// waits for it.
//
// Reads and writes namespaces.
package namespaces

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	storeerr "k8s.io/apiserver/pkg/storage/errors"

	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/apiserver/registry"
)

// Prepare makes namespaces with content wait, on deletion, until
// spec.finalizers is empty.
func Prepare(r *registry.Resource) {
	store := r.Store
	for _, s := range r.Stores() {
		s.ShouldDeleteDuringUpdate = func(ctx context.Context, key string, obj, existing runtime.Object) bool {
			ns, ok := obj.(*corev1.Namespace)
			return ok && len(ns.Spec.Finalizers) == 0 && genericregistry.ShouldDeleteDuringUpdate(ctx, key, obj, existing)
		}
	}
	r.OnDelete(func(next registry.Delete) registry.Delete {
		return func(ctx context.Context, name string, v rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
			obj, err := store.Get(ctx, name, &metav1.GetOptions{})
			if err != nil {
				return nil, false, err
			}
			if len(obj.(*corev1.Namespace).Spec.Finalizers) == 0 {
				return next(ctx, name, v, o)
			}
			return terminate(ctx, store, name, v, o)
		}
	})
}

// terminate marks a namespace as terminating; its controller then empties it.
func terminate(ctx context.Context, store *genericregistry.Store, name string, v rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	key, err := store.KeyFunc(ctx, name)
	if err != nil {
		return nil, false, err
	}
	out := store.NewFunc()
	err = store.Storage.GuaranteedUpdate(ctx, key, out, false, preconditions(o), storage.SimpleUpdate(func(existing runtime.Object) (runtime.Object, error) {
		ns := existing.(*corev1.Namespace)
		if v != nil {
			if err := v(ctx, ns); err != nil {
				return nil, err
			}
		}
		if ns.DeletionTimestamp == nil {
			now := metav1.Now()
			ns.DeletionTimestamp = &now
			ns.Finalizers = finalizers(ns.Finalizers, o)
		}
		ns.Status.Phase = corev1.NamespaceTerminating
		return ns, nil
	}), len(o.DryRun) > 0, nil)
	if err != nil {
		return nil, false, storeerr.InterpretUpdateError(storeerr.InterpretGetError(err, namespaces, name), namespaces, name)
	}
	return out, false, nil
}

// finalizers are those of a namespace with what the deletion says of objects
// that it owns.
func finalizers(old []string, o *metav1.DeleteOptions) []string {
	if o.PropagationPolicy == nil && o.OrphanDependents == nil { //nolint:staticcheck // clients still send it
		return old
	}
	policy := metav1.DeletePropagationOrphan
	switch {
	case o.OrphanDependents != nil && !*o.OrphanDependents: //nolint:staticcheck // see above
		policy = metav1.DeletePropagationForeground
	case o.OrphanDependents == nil: //nolint:staticcheck // see above
		policy = *o.PropagationPolicy
	}
	out := slices.DeleteFunc(slices.Clone(old), func(name string) bool {
		return name == metav1.FinalizerOrphanDependents || name == metav1.FinalizerDeleteDependents
	})
	switch policy {
	case metav1.DeletePropagationOrphan:
		return append(out, metav1.FinalizerOrphanDependents)
	case metav1.DeletePropagationForeground:
		return append(out, metav1.FinalizerDeleteDependents)
	}
	return out
}

var namespaces = corev1.Resource("namespaces")

func preconditions(o *metav1.DeleteOptions) *storage.Preconditions {
	if o.Preconditions == nil {
		return nil
	}
	return &storage.Preconditions{UID: o.Preconditions.UID, ResourceVersion: o.Preconditions.ResourceVersion}
}

// New gives the storage of namespaces/finalize.
func New(s *genericregistry.Store) rest.Storage {
	store := *s
	store.UpdateStrategy = finalizeStrategy{s.UpdateStrategy}
	return &finalize{&store}
}

type finalize struct{ store *genericregistry.Store }

func (f *finalize) New() runtime.Object { return &corev1.Namespace{} }
func (f *finalize) Destroy()            {}

func (f *finalize) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return f.store.Update(ctx, name, info, create, update, false, o)
}

// finalizeStrategy changes spec.finalizers alone.
type finalizeStrategy struct{ rest.RESTUpdateStrategy }

func (finalizeStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	ns, before := obj.(*corev1.Namespace), old.(*corev1.Namespace)
	ns.Status = before.Status
}

func (f finalizeStrategy) ValidateUpdate(_ context.Context, obj, _ runtime.Object) field.ErrorList {
	return core.Namespace.Validate(obj.(*corev1.Namespace))
}
