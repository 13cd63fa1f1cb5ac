package cache

import (
	"errors"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Cache is safe for use by many goroutines.
type Cache struct {
	mu     sync.Mutex
	nodes  map[string]*entry
	pods   map[types.UID]*placed
	images map[string]*Image

	// dirty are the nodes that changed since the last Update; order counts the
	// changes of which nodes there are and in which zone.
	dirty []*entry
	order uint64
}

// entry is a node in the cache, and whether the snapshot has yet to copy it.
type entry struct {
	name  string
	node  Node
	dirty bool
}

type placed struct {
	pod     *Pod
	node    string
	assumed bool // by us; the watch has not shown it yet
}

// ErrAssumed is returned by Assume for a pod that already is on a node.
var ErrAssumed = errors.New("pod is already on a node")

// New makes an empty cache.
func New() *Cache {
	return &Cache{nodes: map[string]*entry{}, pods: map[types.UID]*placed{}, images: map[string]*Image{}}
}

// SetNode takes in a new or changed node.
func (c *Cache) SetNode(node *corev1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.entry(node.Name)
	if e.node.Node == nil || zoneOf(e.node.Node) != zoneOf(node) {
		c.order++
	}
	c.setImages(&e.node, node.Status.Images)
	e.node.setNode(node)
	c.touch(e)
}

// RemoveNode forgets a node. Its pods stay until the watch removes them.
func (c *Cache) RemoveNode(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.nodes[name]
	if e == nil {
		return
	}
	c.setImages(&e.node, nil)
	e.node.Node = nil
	c.order++
	c.touch(e)
	c.drop(e)
}

// SetPod takes in a pod that the watch shows to be on a node. It confirms or
// corrects what was assumed.
func (c *Cache) SetPod(p *Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.remove(p.UID)
	c.add(p, p.Spec.NodeName, false)
}

// Assume counts a pod on a node before the API server knows of it.
func (c *Cache) Assume(p *Pod, node string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pods[p.UID] != nil {
		return ErrAssumed
	}
	c.add(p, node, true)
	return nil
}

// Forget undoes Assume. It does nothing when the watch has confirmed the pod.
func (c *Cache) Forget(uid types.UID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.pods[uid]; at != nil && at.assumed {
		c.remove(uid)
	}
}

// RemovePod forgets a pod, also an assumed one, and says whether it was there.
func (c *Cache) RemovePod(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.remove(uid)
}

// Pod gives a pod on a node, and whether it is only assumed to be there; nil
// when there is none.
func (c *Cache) Pod(uid types.UID) (p *Pod, node string, assumed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := c.pods[uid]; at != nil {
		return at.pod, at.node, at.assumed
	}
	return nil, "", false
}

// Node gives the node object, or nil.
func (c *Cache) Node(name string) *corev1.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.nodes[name]; e != nil {
		return e.node.Node
	}
	return nil
}

// Update brings the cache's one snapshot up to date. All calls must give the
// same snapshot, since what it has seen is kept here.
func (c *Cache) Update(s *Snapshot) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.byName == nil {
		s.byName = map[string]*Node{}
	}
	affinity := false
	for _, e := range c.dirty {
		e.dirty = false
		if e.node.Node == nil {
			delete(s.byName, e.name)
			continue
		}
		to := s.byName[e.name]
		if to == nil {
			to = &Node{}
			s.byName[e.name] = to
		}
		affinity = affinity || len(to.WithAffinity)+len(e.node.WithAffinity) > 0
		to.copyFrom(&e.node)
		if s.order == c.order {
			s.changes.add(to.Index)
		}
	}
	clear(c.dirty)
	c.dirty = c.dirty[:0]
	if s.order != c.order {
		s.order = c.order
		s.list()
		s.changes.base, s.changes.log = s.changes.end(), s.changes.log[:0]
		affinity = true
	}
	if affinity {
		s.listAffinity()
	}
}

// Fresh makes a snapshot of its own, for a look from outside the cycle.
func (c *Cache) Fresh() *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &Snapshot{byName: map[string]*Node{}}
	for name, e := range c.nodes {
		if e.node.Node != nil {
			s.byName[name] = e.node.Clone()
		}
	}
	s.list()
	s.listAffinity()
	return s
}

// list puts the nodes in order.
func (s *Snapshot) list() {
	nodes := make([]*Node, 0, len(s.byName))
	for _, n := range s.byName {
		nodes = append(nodes, n)
	}
	s.Nodes = interleave(nodes)
	for i, n := range s.Nodes {
		n.Index = i
	}
}

func (c *Cache) add(p *Pod, node string, assumed bool) {
	e := c.entry(node)
	e.node.AddPod(p)
	c.touch(e)
	c.pods[p.UID] = &placed{pod: p, node: node, assumed: assumed}
}

func (c *Cache) remove(uid types.UID) bool {
	at := c.pods[uid]
	if at == nil {
		return false
	}
	delete(c.pods, uid)
	e := c.nodes[at.node]
	e.node.RemovePod(at.pod)
	c.touch(e)
	c.drop(e)
	return true
}

func (c *Cache) entry(name string) *entry {
	e := c.nodes[name]
	if e == nil {
		e = &entry{name: name}
		c.nodes[name] = e
	}
	return e
}

// drop removes an entry that stands for nothing any more.
func (c *Cache) drop(e *entry) {
	if e.node.Node == nil && len(e.node.Pods) == 0 {
		delete(c.nodes, e.name)
	}
}

func (c *Cache) touch(e *entry) {
	if !e.dirty {
		e.dirty = true
		c.dirty = append(c.dirty, e)
	}
}

// setImages replaces a node's images and counts them cluster-wide.
func (c *Cache) setImages(n *Node, images []corev1.ContainerImage) {
	if sameImages(n, images) {
		return
	}
	for name, image := range n.Images {
		if image.Nodes.Add(-1) == 0 {
			delete(c.images, name)
		}
	}
	n.Images = nil
	for _, image := range images {
		for _, name := range image.Names {
			if n.Images[name] != nil {
				continue
			}
			state := c.images[name]
			if state == nil {
				state = &Image{Size: image.SizeBytes}
				c.images[name] = state
			}
			state.Nodes.Add(1)
			if n.Images == nil {
				n.Images = map[string]*Image{}
			}
			n.Images[name] = state
		}
	}
}

// sameImages tells whether a node already lists these images, as nearly all
// of its status updates do.
func sameImages(n *Node, images []corev1.ContainerImage) bool {
	names := 0
	for i := range images {
		for _, name := range images[i].Names {
			if n.Images[name] == nil {
				return false
			}
			names++
		}
	}
	return names == len(n.Images)
}
