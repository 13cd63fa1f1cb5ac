package endpointslice

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// lagLimit is how long the cache may be behind our own writes before the record
// of them is given up. A slice that somebody deletes before the answer to our
// update of it arrives is in the record for ever, and never again in the cache.
const lagLimit = 3 * time.Second

// Lag remembers since when the cache has been behind for each object.
type Lag struct {
	mu    sync.Mutex
	since map[types.NamespacedName]time.Time
}

// TooLong notes that the cache is behind, and tells whether it has been for so
// long that it is the record of writes that is wrong; it then begins anew.
func (l *Lag) TooLong(key types.NamespacedName, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = map[types.NamespacedName]time.Time{}
	}
	since, behind := l.since[key]
	if !behind {
		l.since[key] = now
		return false
	}
	if now.Sub(since) < lagLimit {
		return false
	}
	delete(l.since, key)
	return true
}

// Over notes that the cache shows all writes, or that the object is gone.
func (l *Lag) Over(key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.since, key)
}
