package ownership

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Children shows the cached objects of one kind by their controller without
// copying them into a list, for owners of hundreds that look at all of them
// whenever one changes. They are shared: do not change them.
type Children[T client.Object] struct{ indexer toolscache.Indexer }

// ChildrenOf makes the manager's cache find objects of obj's kind by their
// controller, as [Index] does, and shows them.
func ChildrenOf[T client.Object](ctx context.Context, mgr ctrl.Manager, obj T) (Children[T], error) {
	if err := Index(ctx, mgr, obj); err != nil {
		return Children[T]{}, err
	}
	informer, err := mgr.GetCache().GetInformer(ctx, obj)
	if err != nil {
		return Children[T]{}, fmt.Errorf("get informer of %T: %w", obj, err)
	}
	indexed, ok := informer.(interface{ GetIndexer() toolscache.Indexer })
	if !ok {
		return Children[T]{}, fmt.Errorf("informer of %T has no indexer", obj)
	}
	return Children[T]{indexed.GetIndexer()}, nil
}

// Of returns the objects in namespace that owner controls.
func (c Children[T]) Of(namespace string, owner types.UID) ([]T, error) {
	return c.by(namespace, string(owner))
}

// Orphans returns the objects in namespace that nobody controls.
func (c Children[T]) Orphans(namespace string) ([]T, error) { return c.by(namespace, orphan) }

// by looks under the name and the value that controller-runtime gives to an index
// over a field.
func (c Children[T]) by(namespace, value string) ([]T, error) {
	found, err := c.indexer.ByIndex("field:"+field, namespace+"/"+value)
	if err != nil {
		return nil, fmt.Errorf("list objects in %s by controller: %w", namespace, err)
	}
	objects := make([]T, 0, len(found))
	for _, object := range found {
		objects = append(objects, object.(T))
	}
	return objects, nil
}
