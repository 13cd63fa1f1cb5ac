// Package peek lists what the manager's cache holds without copying it, for
// controllers that look at all objects of a kind again and again.
//
// Reads the cache, writes nothing. Start at [At].
package peek

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Store shows the cached objects of one kind. They are shared: do not change
// them.
type Store[T client.Object] struct{ indexer toolscache.Indexer }

// At returns the store of object's kind, which the manager caches from its start
// on.
func At[T client.Object](mgr ctrl.Manager, object T) (Store[T], error) {
	informer, err := mgr.GetCache().GetInformer(context.Background(), object, cache.BlockUntilSynced(false))
	if err != nil {
		return Store[T]{}, fmt.Errorf("watch %T: %w", object, err)
	}
	shared, ok := informer.(toolscache.SharedIndexInformer)
	if !ok {
		return Store[T]{}, fmt.Errorf("watch %T: the cache has no indexer", object)
	}
	return Store[T]{indexer: shared.GetIndexer()}, nil
}

// List returns all objects, in no order.
func (s Store[T]) List() []T {
	stored := s.indexer.List()
	objects := make([]T, 0, len(stored))
	for _, object := range stored {
		if typed, ok := object.(T); ok {
			objects = append(objects, typed)
		}
	}
	return objects
}

// Get returns one object; not ok when there is none.
func (s Store[T]) Get(key types.NamespacedName) (object T, ok bool) {
	name := key.Name
	if key.Namespace != "" {
		name = key.Namespace + "/" + key.Name
	}
	stored, exists, err := s.indexer.GetByKey(name)
	if err != nil || !exists {
		return object, false
	}
	object, ok = stored.(T)
	return object, ok
}
