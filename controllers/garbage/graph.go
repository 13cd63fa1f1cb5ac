package garbage

import (
	"slices"
	"sync"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// object is what the graph keeps of one object. It is never changed once it is
// in the graph, so it can be read without a lock.
type object struct {
	resource  schema.GroupVersionResource
	kind      string
	namespace string
	name      string
	uid       types.UID
	version   string // resourceVersion
	owners    []metav1.OwnerReference

	deleting       bool // has a deletion timestamp
	foregroundMark bool // has the finalizer foregroundDeletion
	orphanMark     bool // has the finalizer orphan
}

// newObject keeps what matters of an object's metadata.
func newObject(resource schema.GroupVersionResource, kind string, meta metav1.Object) *object {
	return &object{
		resource:       resource,
		kind:           kind,
		namespace:      meta.GetNamespace(),
		name:           meta.GetName(),
		uid:            meta.GetUID(),
		version:        meta.GetResourceVersion(),
		owners:         meta.GetOwnerReferences(),
		deleting:       meta.GetDeletionTimestamp() != nil,
		foregroundMark: slices.Contains(meta.GetFinalizers(), metav1.FinalizerDeleteDependents),
		orphanMark:     slices.Contains(meta.GetFinalizers(), metav1.FinalizerOrphanDependents),
	}
}

// waitsForDependents: it is being deleted in the foreground.
func (o *object) waitsForDependents() bool { return o.deleting && o.foregroundMark }

// orphansDependents: it is being deleted and its dependents are to stay.
func (o *object) orphansDependents() bool { return o.deleting && o.orphanMark }

// is tells whether o is what the reference of a dependent in namespace means.
// The version may differ: a kind is served in several.
func (o *object) is(reference metav1.OwnerReference, namespace string) bool {
	gv, err := schema.ParseGroupVersion(reference.APIVersion)
	return err == nil &&
		o.uid == reference.UID &&
		o.name == reference.Name &&
		o.kind == reference.Kind &&
		o.resource.Group == gv.Group &&
		(o.namespace == "" || o.namespace == namespace)
}

// blocks tells whether o must go before an owner that waits for its dependents.
func (o *object) blocks(owner types.UID) bool {
	return slices.ContainsFunc(o.owners, func(reference metav1.OwnerReference) bool {
		return reference.UID == owner && ptr.Deref(reference.BlockOwnerDeletion, false)
	})
}

// graph is who owns whom. Its methods return the objects that must be looked at
// because of what they did.
type graph struct {
	mu         sync.RWMutex
	objects    map[types.UID]*object
	dependents map[types.UID]map[types.UID]*object // by owner, seen or not
	byResource map[schema.GroupVersionResource]map[types.UID]struct{}
}

func newGraph() *graph {
	return &graph{
		objects:    map[types.UID]*object{},
		dependents: map[types.UID]map[types.UID]*object{},
		byResource: map[schema.GroupVersionResource]map[types.UID]struct{}{},
	}
}

// checks are the objects to look at: now, or a little later, because what they
// miss is probably on its way (each kind has a watch of its own, and a child's
// may be faster than its parent's).
type checks struct{ now, later []types.UID }

// observe takes in an object that was added or changed.
func (g *graph) observe(o *object) checks {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.objects[o.uid]
	g.store(old, o)

	var c checks
	if o.orphansDependents() && (old == nil || !old.orphansDependents()) ||
		o.waitsForDependents() && (old == nil || !old.waitsForDependents()) {
		c.now = append(c.now, o.uid)
	}
	if old != nil {
		if apiequality.Semantic.DeepEqual(old.owners, o.owners) {
			return c // statuses change all the time; owners seldom
		}
		// An owner that waits may not have to wait for this one any more.
		for _, reference := range old.owners {
			owner := g.objects[reference.UID]
			if owner != nil && owner.waitsForDependents() && old.blocks(owner.uid) && !o.blocks(owner.uid) {
				c.now = append(c.now, owner.uid)
			}
		}
	}
	if o.deleting {
		return c
	}
	for _, reference := range o.owners {
		owner := g.objects[reference.UID]
		switch {
		case owner == nil:
			c.later = append(c.later, o.uid)
		case owner.waitsForDependents(), !owner.is(reference, o.namespace):
			c.now = append(c.now, o.uid)
		}
	}
	return c
}

// store replaces old, which may be nil, by o in all indexes.
func (g *graph) store(old, o *object) {
	if old != nil {
		g.unlink(old)
	}
	g.objects[o.uid] = o
	for _, reference := range o.owners {
		if g.dependents[reference.UID] == nil {
			g.dependents[reference.UID] = map[types.UID]*object{}
		}
		g.dependents[reference.UID][o.uid] = o
	}
	if g.byResource[o.resource] == nil {
		g.byResource[o.resource] = map[types.UID]struct{}{}
	}
	g.byResource[o.resource][o.uid] = struct{}{}
}

func (g *graph) unlink(o *object) {
	delete(g.objects, o.uid)
	for _, reference := range o.owners {
		delete(g.dependents[reference.UID], o.uid)
		if len(g.dependents[reference.UID]) == 0 {
			delete(g.dependents, reference.UID)
		}
	}
	delete(g.byResource[o.resource], o.uid)
	if len(g.byResource[o.resource]) == 0 {
		delete(g.byResource, o.resource)
	}
}

// forget takes out an object that is gone, and returns it, nil when it was not
// known.
func (g *graph) forget(uid types.UID) (*object, checks) {
	g.mu.Lock()
	defer g.mu.Unlock()
	gone := g.objects[uid]
	if gone == nil {
		return nil, checks{}
	}
	g.unlink(gone)
	var c checks
	for dependent := range g.dependents[uid] {
		c.now = append(c.now, dependent)
	}
	for _, reference := range gone.owners {
		if owner := g.objects[reference.UID]; owner != nil && owner.waitsForDependents() {
			c.now = append(c.now, owner.uid)
		}
	}
	return gone, c
}

// missing returns the known objects of a kind that are not among those listed.
func (g *graph) missing(resource schema.GroupVersionResource, listed map[types.UID]bool) []types.UID {
	g.mu.RLock()
	defer g.mu.RUnlock()
	var gone []types.UID
	for uid := range g.byResource[resource] {
		if !listed[uid] {
			gone = append(gone, uid)
		}
	}
	return gone
}

func (g *graph) get(uid types.UID) *object {
	g.mu.RLock()
	defer g.mu.RUnlock()
	return g.objects[uid]
}

func (g *graph) dependentsOf(uid types.UID) []*object {
	g.mu.RLock()
	defer g.mu.RUnlock()
	dependents := make([]*object, 0, len(g.dependents[uid]))
	for _, o := range g.dependents[uid] {
		dependents = append(dependents, o)
	}
	return dependents
}
