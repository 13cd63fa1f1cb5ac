package etcd

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
)

// plain is storage whose objects have no apiVersion and kind in memory when
// they are changed, as those of Kubernetes' internal types have none, whether
// they were read from etcd or from the watch cache: an object that is told to
// have changed by its kind alone gets another version for nothing.
type plain struct{ storage.Interface }

// GuaranteedUpdate implements storage.Interface.
func (p plain) GuaranteedUpdate(ctx context.Context, key string, into runtime.Object, ignoreNotFound bool,
	preconditions *storage.Preconditions, update storage.UpdateFunc, cached runtime.Object,
) error {
	if _, ok := into.(runtime.Unstructured); ok { // whose kind is part of it
		return p.Interface.GuaranteedUpdate(ctx, key, into, ignoreNotFound, preconditions, update, cached)
	}
	return p.Interface.GuaranteedUpdate(ctx, key, into, ignoreNotFound, preconditions, func(obj runtime.Object, meta storage.ResponseMeta) (runtime.Object, *uint64, error) {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return update(obj, meta)
	}, cached)
}

// bare is storage without a cache, whose lists are of objects without apiVersion
// and kind, as those of a cache are. Custom resources have theirs in their content.
type bare struct{ storage.Interface }

// GetList implements storage.Interface.
func (b bare) GetList(ctx context.Context, key string, opts storage.ListOptions, into runtime.Object) error {
	if err := b.Interface.GetList(ctx, key, opts, into); err != nil {
		return err
	}
	return meta.EachListItem(into, func(o runtime.Object) error {
		if _, custom := o.(runtime.Unstructured); !custom {
			o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		}
		return nil
	})
}
