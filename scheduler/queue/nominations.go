package queue

import (
	"slices"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/scheduler/cache"
)

// Nominations are the pods that were promised room on a node, which others of
// lower priority are leaving for them. The zero value is empty; it is safe for
// use by many goroutines.
type Nominations struct {
	any    atomic.Int64 // so that nobody locks while there are none
	mu     sync.RWMutex
	byNode map[string][]*cache.Pod // lists are replaced, never changed
	nodeOf map[types.UID]string
}

// Set promises room on a node to a pod, instead of an earlier promise.
func (n *Nominations) Set(p *cache.Pod, node string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.remove(p.UID)
	if n.byNode == nil {
		n.byNode, n.nodeOf = map[string][]*cache.Pod{}, map[types.UID]string{}
	}
	n.nodeOf[p.UID] = node
	n.byNode[node] = append(slices.Clip(n.byNode[node]), p)
	n.any.Add(1)
}

// Remove takes the promise back and says to which node it was, if any.
func (n *Nominations) Remove(uid types.UID) string {
	if n.any.Load() == 0 {
		return ""
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.remove(uid)
}

func (n *Nominations) remove(uid types.UID) string {
	node, ok := n.nodeOf[uid]
	if !ok {
		return ""
	}
	delete(n.nodeOf, uid)
	rest := make([]*cache.Pod, 0, len(n.byNode[node]))
	for _, p := range n.byNode[node] {
		if p.UID != uid {
			rest = append(rest, p)
		}
	}
	if n.byNode[node] = rest; len(rest) == 0 {
		delete(n.byNode, node)
	}
	n.any.Add(-1)
	return node
}

// Of gives the node that a pod has a promise for, empty without.
func (n *Nominations) Of(uid types.UID) string {
	if n.any.Load() == 0 {
		return ""
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.nodeOf[uid]
}

// On gives the pods that were promised room on a node.
func (n *Nominations) On(node string) []*cache.Pod {
	if n.any.Load() == 0 {
		return nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.byNode[node]
}
