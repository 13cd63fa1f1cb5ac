package consistency

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

// timeout bounds one Wait. An event normally follows its write within
// milliseconds; it is not followed by one of its own when the watch broke and
// the cache was listed anew, which the next turn sees in the store's version.
const timeout = 10 * time.Second

// Tracker knows which writes to objects of one kind a cache may not hold yet.
// Writes are filed under a key, usually the object that a turn is about.
type Tracker struct {
	store toolscache.Store

	mu sync.Mutex
	// changed is closed, and replaced, when the store has moved on; only
	// while somebody waits.
	changed chan struct{}
	waiting int
	// seen is the newest version that an event told of.
	seen string
	owed map[types.NamespacedName]*debt
	// last is the newest version written under each key.
	last map[types.NamespacedName]string
}

// debt is what the cache has to show before a key's next turn.
type debt struct {
	version string
	gone    map[string]types.UID // by namespace/name
}

// New returns a Tracker for the kind that informer caches.
func New(informer cache.Informer) (*Tracker, error) {
	stored, ok := informer.(interface{ GetStore() toolscache.Store })
	if !ok {
		return nil, fmt.Errorf("informer %T has no store to look at", informer)
	}
	t := &Tracker{store: stored.GetStore(), changed: make(chan struct{}), owed: map[types.NamespacedName]*debt{}, last: map[types.NamespacedName]string{}}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    t.observe,
		UpdateFunc: func(_, obj any) { t.observe(obj) },
		DeleteFunc: t.observe,
	}); err != nil {
		return nil, fmt.Errorf("watch informer: %w", err)
	}
	return t, nil
}

// Wrote notes that obj, as the server returned it, was created, updated or
// patched. Safe to call from several goroutines.
func (t *Tracker) Wrote(key types.NamespacedName, obj metav1.Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.debt(key)
	if newer(obj.GetResourceVersion(), d.version) {
		d.version = obj.GetResourceVersion()
	}
	if newer(obj.GetResourceVersion(), t.last[key]) {
		t.last[key] = obj.GetResourceVersion()
	}
}

// Own tells whether obj is as the last write noted under key left it. A write
// whose answer has not been noted yet is taken for another's.
func (t *Tracker) Own(key types.NamespacedName, obj metav1.Object) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last[key] != "" && t.last[key] == obj.GetResourceVersion()
}

// Deleted notes that the server accepted the deletion of obj.
func (t *Tracker) Deleted(key types.NamespacedName, obj metav1.Object) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.debt(key).gone[toolscache.ObjectName{Namespace: obj.GetNamespace(), Name: obj.GetName()}.String()] = obj.GetUID()
}

func (t *Tracker) debt(key types.NamespacedName) *debt {
	d := t.owed[key]
	if d == nil {
		d = &debt{gone: map[string]types.UID{}}
		t.owed[key] = d
	}
	return d
}

// Forget drops what is noted about key, for an object that no longer exists.
func (t *Tracker) Forget(key types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.owed, key)
	delete(t.last, key)
}

// Wait blocks until the cache holds every write noted under key. It returns an
// error when ctx ends, or after ten seconds; the writes are then still noted.
func (t *Tracker) Wait(ctx context.Context, key types.NamespacedName) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.settle(key) {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	t.waiting++
	defer func() { t.waiting-- }()
	for !t.settle(key) {
		changed := t.changed
		t.mu.Unlock()
		select {
		case <-changed:
			t.mu.Lock()
		case <-ctx.Done():
			t.mu.Lock()
			return fmt.Errorf("wait for the cache to hold the writes of %s: %w", key, ctx.Err())
		}
	}
	return nil
}

// settle drops what the store shows by now and tells whether nothing is left.
func (t *Tracker) settle(key types.NamespacedName) bool {
	d := t.owed[key]
	if d == nil {
		return true
	}
	if d.version != "" && newer(d.version, t.seen) && newer(d.version, t.store.LastStoreSyncResourceVersion()) {
		return false
	}
	d.version = ""
	for name, uid := range d.gone {
		stored, exists, err := t.store.GetByKey(name)
		if err == nil && exists {
			if obj, ok := stored.(metav1.Object); ok && obj.GetUID() == uid && obj.GetDeletionTimestamp().IsZero() {
				return false
			}
		}
		delete(d.gone, name)
	}
	delete(t.owed, key)
	return true
}

// observe is told of every event after the store has taken it.
func (t *Tracker) observe(obj any) {
	meta, ok := obj.(metav1.Object)
	if tombstone, isTombstone := obj.(toolscache.DeletedFinalStateUnknown); isTombstone {
		meta, ok = tombstone.Obj.(metav1.Object)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if ok && newer(meta.GetResourceVersion(), t.seen) {
		t.seen = meta.GetResourceVersion()
	}
	if t.waiting > 0 {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

// newer tells whether version a was written after b. Versions that cannot be
// compared, as a server before 1.35 may give, never count as newer.
func newer(a, b string) bool {
	if b == "" {
		return a != ""
	}
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order > 0
}
