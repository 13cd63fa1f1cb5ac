package objects

import (
	"context"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// entry is one watched object. It is the store of its reflector.
type entry struct {
	pods    map[types.UID]int // references by pod; of the Cache, under its lock
	stop    context.CancelFunc
	changed func()

	synced chan struct{} // closed once the watch has begun

	mu     sync.Mutex
	object metav1.Object // nil if it does not exist
	once   sync.Once
	// late: somebody could not wait for the watch to begin, so that its first
	// state may be news.
	late atomic.Bool
}

func newEntry(stop context.CancelFunc, changed func()) *entry {
	return &entry{pods: map[types.UID]int{}, stop: stop, changed: changed, synced: make(chan struct{})}
}

// watch follows the object until ctx ends.
func (e *entry) watch(ctx context.Context, client kubernetes.Interface, k key) {
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, k.name).String()
	lw := &cache.ListWatch{}
	var example runtime.Object
	switch k.kind {
	case configMap:
		example = &corev1.ConfigMap{}
		lw.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return client.CoreV1().ConfigMaps(k.namespace).List(ctx, o)
		}
		lw.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return client.CoreV1().ConfigMaps(k.namespace).Watch(ctx, o)
		}
	case secret:
		example = &corev1.Secret{}
		lw.ListWithContextFunc = func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return client.CoreV1().Secrets(k.namespace).List(ctx, o)
		}
		lw.WatchFuncWithContext = func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return client.CoreV1().Secrets(k.namespace).Watch(ctx, o)
		}
	}
	name := string(k.kind) + " " + k.namespace + "/" + k.name
	reflector := cache.NewNamedReflector(name, cache.ToListWatcherWithWatchListSemantics(lw, client), example, e, 0)
	reflector.RunWithContext(ctx)
}

func (e *entry) get() metav1.Object {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.object
}

// set takes a new state of the object, nil when it is gone. An immutable one
// needs no watch any more: it can only be deleted, which the kubelet does not
// follow either.
func (e *entry) set(object metav1.Object) {
	e.mu.Lock()
	same := e.object == nil && object == nil ||
		e.object != nil && object != nil && e.object.GetUID() == object.GetUID() &&
			e.object.GetResourceVersion() == object.GetResourceVersion()
	e.object = object
	e.mu.Unlock()
	first := false
	e.once.Do(func() {
		first = true
		close(e.synced)
	})
	// The first state is no change: whoever needs it waits for it.
	if first && e.late.Load() || !first && !same {
		e.changed()
	}
	if immutable(object) {
		e.stop()
	}
}

func immutable(object metav1.Object) bool {
	switch o := object.(type) {
	case *corev1.ConfigMap:
		return o.Immutable != nil && *o.Immutable
	case *corev1.Secret:
		return o.Immutable != nil && *o.Immutable
	}
	return false
}

// Add, Update, Delete, Replace and Resync make an entry a cache.ReflectorStore.
func (e *entry) Add(obj any) error {
	if object, ok := obj.(metav1.Object); ok {
		e.set(object)
	}
	return nil
}

// Update is Add.
func (e *entry) Update(obj any) error { return e.Add(obj) }

// Delete forgets the object.
func (e *entry) Delete(any) error {
	e.set(nil)
	return nil
}

// Replace takes the result of a list by name: one object or none.
func (e *entry) Replace(list []any, _ string) error {
	if len(list) == 0 {
		e.set(nil)
		return nil
	}
	return e.Add(list[0])
}

// Resync does nothing.
func (e *entry) Resync() error { return nil }
