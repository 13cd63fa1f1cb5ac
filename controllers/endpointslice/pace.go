package endpointslice

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// Pace spaces the turns of one object: the first after a quiet time is taken at
// once, those that follow wait until Interval has passed. A service whose pods
// all become ready within a second is then written about ten times rather than
// once for each pod, and a single change is never late.
type Pace struct {
	Interval time.Duration

	mu   sync.Mutex
	last map[types.NamespacedName]time.Time
}

// Wait returns how long the turn must wait; zero means that it may go on, and
// counts it.
func (p *Pace) Wait(key types.NamespacedName, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.last == nil {
		p.last = map[types.NamespacedName]time.Time{}
	}
	if last, ok := p.last[key]; ok {
		if wait := last.Add(p.Interval).Sub(now); wait > 0 && wait <= p.Interval {
			return wait
		}
	}
	p.last[key] = now
	return 0
}

// Forget drops what is known of an object that is gone.
func (p *Pace) Forget(key types.NamespacedName) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.last, key)
}
