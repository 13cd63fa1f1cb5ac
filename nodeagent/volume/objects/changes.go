package objects

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// changes are pods that must be looked at again. Adding never blocks.
type changes struct {
	mu    *sync.Mutex
	pods  map[types.UID]struct{}
	ready chan struct{}
}

func newChanges() changes {
	return changes{mu: &sync.Mutex{}, pods: map[types.UID]struct{}{}, ready: make(chan struct{}, 1)}
}

func (c *changes) add(uid types.UID) {
	c.mu.Lock()
	c.pods[uid] = struct{}{}
	c.mu.Unlock()
	select {
	case c.ready <- struct{}{}:
	default: // The reader has been told already.
	}
}

func (c *changes) take() []types.UID {
	c.mu.Lock()
	defer c.mu.Unlock()
	pods := make([]types.UID, 0, len(c.pods))
	for uid := range c.pods {
		pods = append(pods, uid)
	}
	clear(c.pods)
	return pods
}
