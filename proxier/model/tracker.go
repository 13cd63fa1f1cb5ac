package model

import (
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Tracker keeps the objects and what was planned from them. Its work is
// proportional to what changed: an endpoint touches its own service only.
// It is not safe for concurrent use.
type Tracker struct {
	node     Node
	services map[string]*corev1.Service
	slices   map[string]map[string]*discoveryv1.EndpointSlice // service → slice
	planned  map[string]*Service                              // as Plan decided
	given    map[string]*Service                              // as handed out: without lost conflicts
	claims   map[Slot][]string                                // services that want a slot, the first has it
	dirty    map[string]bool
}

// NewTracker returns an empty Tracker for the node.
func NewTracker(node Node) *Tracker {
	return &Tracker{
		node:     node,
		services: map[string]*corev1.Service{},
		slices:   map[string]map[string]*discoveryv1.EndpointSlice{},
		planned:  map[string]*Service{},
		given:    map[string]*Service{},
		claims:   map[Slot][]string{},
		dirty:    map[string]bool{},
	}
}

// SetNode takes over what is known of the node; all is planned again if that matters.
func (t *Tracker) SetNode(n Node) {
	if n.equal(t.node) {
		return
	}
	t.node = n
	for k := range t.services {
		t.dirty[k] = true
	}
}

// SetService adds or replaces a service.
func (t *Tracker) SetService(svc *corev1.Service) {
	key := svc.Namespace + "/" + svc.Name
	t.services[key] = svc
	t.dirty[key] = true
}

// DeleteService forgets a service.
func (t *Tracker) DeleteService(namespace, name string) {
	key := namespace + "/" + name
	if _, ok := t.services[key]; ok {
		delete(t.services, key)
		t.dirty[key] = true
	}
}

// SetSlice adds or replaces an EndpointSlice.
func (t *Tracker) SetSlice(s *discoveryv1.EndpointSlice) {
	owner := s.Labels[discoveryv1.LabelServiceName]
	if owner == "" {
		return
	}
	key := s.Namespace + "/" + owner
	if t.slices[key] == nil {
		t.slices[key] = map[string]*discoveryv1.EndpointSlice{}
	}
	t.slices[key][s.Name] = s
	t.dirty[key] = true
}

// DeleteSlice forgets an EndpointSlice.
func (t *Tracker) DeleteSlice(s *discoveryv1.EndpointSlice) {
	key := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
	if _, ok := t.slices[key][s.Name]; !ok {
		return
	}
	delete(t.slices[key], s.Name)
	if len(t.slices[key]) == 0 {
		delete(t.slices, key)
	}
	t.dirty[key] = true
}

// Dirty tells whether Changes may have something to return.
func (t *Tracker) Dirty() bool { return len(t.dirty) > 0 }

// Changes plans what is dirty and returns the services that differ from what
// was returned before, sorted by key. The values must not be modified.
func (t *Tracker) Changes() []Change {
	review := map[string]bool{}
	for key := range t.dirty {
		t.replan(key, review)
	}
	clear(t.dirty)

	var changes []Change
	for key := range review {
		next := t.withoutLostSlots(t.planned[key])
		if reflect.DeepEqual(next, t.given[key]) {
			continue
		}
		if next == nil {
			delete(t.given, key)
		} else {
			t.given[key] = next
		}
		changes = append(changes, Change{Key: key, Service: next})
	}
	slices.SortFunc(changes, func(a, b Change) int {
		// Removals first: what they free may be taken by others.
		if (a.Service == nil) != (b.Service == nil) {
			if a.Service == nil {
				return -1
			}
			return 1
		}
		return strings.Compare(a.Key, b.Key)
	})
	return changes
}

// Services calls f for each service as it was handed out last.
func (t *Tracker) Services(f func(*Service)) {
	for _, s := range t.given {
		f(s)
	}
}

// replan decides key anew and marks for review it and whoever's slots it affects.
func (t *Tracker) replan(key string, review map[string]bool) {
	review[key] = true
	var next *Service
	if svc := t.services[key]; svc != nil {
		next = Plan(svc, t.slicesOf(key), t.node)
	}
	old := t.planned[key]
	if next == nil {
		delete(t.planned, key)
	} else {
		t.planned[key] = next
	}
	was, is := slotsOf(old), slotsOf(next)
	for s := range was {
		if !is[s] {
			t.release(s, key, review)
		}
	}
	for s := range is {
		if !was[s] {
			t.claim(s, key, review)
		}
	}
}

// claim enters key into the slot's queue. Older services come first, so that
// nobody can take a slot from its owner; names decide between equals.
func (t *Tracker) claim(s Slot, key string, review map[string]bool) {
	queue := append(t.claims[s], key)
	slices.SortStableFunc(queue, func(a, b string) int {
		sa, sb := t.services[a], t.services[b]
		if sa != nil && sb != nil {
			if c := sa.CreationTimestamp.Compare(sb.CreationTimestamp.Time); c != 0 {
				return c
			}
		}
		return strings.Compare(a, b)
	})
	t.claims[s] = queue
	for _, other := range queue {
		review[other] = true
	}
}

func (t *Tracker) release(s Slot, key string, review map[string]bool) {
	queue := slices.DeleteFunc(t.claims[s], func(k string) bool { return k == key })
	if len(queue) == 0 {
		delete(t.claims, s)
		return
	}
	t.claims[s] = queue
	review[queue[0]] = true
}

// withoutLostSlots returns s without the frontends that another service owns.
func (t *Tracker) withoutLostSlots(s *Service) *Service {
	if s == nil || !t.losesAny(s) {
		return s
	}
	out := *s
	out.Ports = slices.Clone(s.Ports)
	for i := range out.Ports {
		p := &out.Ports[i]
		p.Frontends = slices.DeleteFunc(slices.Clone(p.Frontends), func(f Frontend) bool { return t.claims[p.Slot(&f)][0] != s.Key })
	}
	return &out
}

func (t *Tracker) losesAny(s *Service) bool {
	for i := range s.Ports {
		p := &s.Ports[i]
		for j := range p.Frontends {
			if t.claims[p.Slot(&p.Frontends[j])][0] != s.Key {
				return true
			}
		}
	}
	return false
}

func (t *Tracker) slicesOf(key string) []*discoveryv1.EndpointSlice {
	out := make([]*discoveryv1.EndpointSlice, 0, len(t.slices[key]))
	for _, s := range t.slices[key] {
		out = append(out, s)
	}
	return out
}

func slotsOf(s *Service) map[Slot]bool {
	if s == nil {
		return nil
	}
	out := map[Slot]bool{}
	for i := range s.Ports {
		p := &s.Ports[i]
		for j := range p.Frontends {
			out[p.Slot(&p.Frontends[j])] = true
		}
	}
	return out
}
