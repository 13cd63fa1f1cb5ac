package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
)

// informers are those of one manager's cache, for whoever can do without watches
// of his own.
type informers struct {
	mu     sync.Mutex
	byKind map[schema.GroupVersionKind]toolscache.SharedIndexInformer
}

// make returns an informer whose sync is noticed at once. client-go and
// controller-runtime ask every 100 ms whether the caches, and then whether the
// handlers, have synced; against a server that answers within a millisecond
// those two waits are nearly all of the room's start.
func (i *informers) make(lw toolscache.ListerWatcher, example runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	made := promptInformer{toolscache.NewSharedIndexInformer(lw, example, resync, indexers)}
	if kinds, _, err := newScheme().ObjectKinds(example); err == nil {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.byKind[kinds[0]] = made
	}
	return made
}

// of returns the informer of a kind; nil when there is none.
func (i *informers) of(kind schema.GroupVersionKind) toolscache.SharedIndexInformer {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.byKind[kind]
}

type promptInformer struct{ toolscache.SharedIndexInformer }

func (i promptInformer) HasSynced() bool { return soon(i.HasSyncedChecker()) }

func (i promptInformer) AddEventHandlerWithOptions(handler toolscache.ResourceEventHandler, options toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	registration, err := i.SharedIndexInformer.AddEventHandlerWithOptions(handler, options)
	if err != nil {
		return nil, err
	}
	return promptRegistration{registration}, nil
}

// RemoveEventHandler takes the registration back that AddEventHandlerWithOptions gave.
func (i promptInformer) RemoveEventHandler(handle toolscache.ResourceEventHandlerRegistration) error {
	if prompt, ok := handle.(promptRegistration); ok {
		handle = prompt.ResourceEventHandlerRegistration
	}
	return i.SharedIndexInformer.RemoveEventHandler(handle)
}

type promptRegistration struct {
	toolscache.ResourceEventHandlerRegistration
}

func (r promptRegistration) HasSynced() bool { return soon(r.HasSyncedChecker()) }

// soon tells whether checker is done by now or within the time after which it
// would be asked again.
func soon(checker toolscache.DoneChecker) bool {
	timer := time.NewTimer(100 * time.Millisecond)
	defer timer.Stop()
	select {
	case <-checker.Done():
		return true
	case <-timer.C:
		return false
	}
}
