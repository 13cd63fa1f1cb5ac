package model

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// candidate is an endpoint with all that decides whether it is used.
type candidate struct {
	Endpoint
	ready, draining bool // draining: serving while terminating
	zones, nodes    []string
}

// candidates returns the endpoints of one port in one family, whatever their condition.
func candidates(endpointSlices []*discoveryv1.EndpointSlice, family corev1.IPFamily, name string, protocol corev1.Protocol, node string) []candidate {
	var out []candidate
	for _, s := range endpointSlices {
		if string(s.AddressType) != string(family) {
			continue
		}
		for i := range s.Ports {
			p := &s.Ports[i]
			if p.Port == nil || deref(p.Name, "") != name || deref(p.Protocol, corev1.ProtocolTCP) != protocol {
				continue
			}
			for j := range s.Endpoints {
				if c, ok := newCandidate(&s.Endpoints[j], uint16(*p.Port), node); ok {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

func newCandidate(e *discoveryv1.Endpoint, port uint16, node string) (candidate, bool) {
	if len(e.Addresses) == 0 {
		return candidate{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return candidate{}, false
	}
	c := candidate{Endpoint: Endpoint{
		AddrPort: netip.AddrPortFrom(addr.Unmap(), port),
		OnNode:   e.NodeName != nil && *e.NodeName == node,
	}}
	c.ready = deref(e.Conditions.Ready, true)
	c.draining = deref(e.Conditions.Serving, c.ready) && deref(e.Conditions.Terminating, false)
	if e.Hints != nil {
		for _, z := range e.Hints.ForZones {
			c.zones = append(c.zones, z.Name)
		}
		for _, n := range e.Hints.ForNodes {
			c.nodes = append(c.nodes, n.Name)
		}
	}
	return c, true
}

// clusterPool picks the endpoints for policy Cluster: the ready ones, narrowed
// by topology hints; when none is ready, those that still serve while they terminate.
func clusterPool(all []candidate, node Node) []Endpoint {
	ready := pick(all, func(c candidate) bool { return c.ready })
	if len(ready) == 0 {
		return endpointsOf(pick(all, func(c candidate) bool { return c.draining }))
	}
	return endpointsOf(nearest(ready, node))
}

// localPool is the same for policy Local: hints do not apply.
func localPool(all []candidate) []Endpoint {
	ready := pick(all, func(c candidate) bool { return c.OnNode && c.ready })
	if len(ready) == 0 {
		ready = pick(all, func(c candidate) bool { return c.OnNode && c.draining })
	}
	return endpointsOf(ready)
}

// nearest follows topology hints. A kind of hint counts only when every
// endpoint carries it and at least one names this place: otherwise the hints
// are incomplete (an update is under way) and all endpoints are used.
func nearest(ready []candidate, node Node) []candidate {
	if near := hinted(ready, node.Name, func(c candidate) []string { return c.nodes }); near != nil {
		return near
	}
	if near := hinted(ready, node.Zone, func(c candidate) []string { return c.zones }); near != nil {
		return near
	}
	return ready
}

func hinted(ready []candidate, place string, hints func(candidate) []string) []candidate {
	if place == "" {
		return nil
	}
	var near []candidate
	for _, c := range ready {
		h := hints(c)
		if len(h) == 0 {
			return nil
		}
		if slices.Contains(h, place) {
			near = append(near, c)
		}
	}
	return near
}

// countLocalReady counts the distinct ready endpoints of the node over all ports.
func countLocalReady(endpointSlices []*discoveryv1.EndpointSlice, node string) int {
	seen := map[string]bool{}
	for _, s := range endpointSlices {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if len(e.Addresses) > 0 && e.NodeName != nil && *e.NodeName == node && deref(e.Conditions.Ready, true) {
				seen[e.Addresses[0]] = true
			}
		}
	}
	return len(seen)
}

func pick(all []candidate, want func(candidate) bool) []candidate {
	var out []candidate
	for _, c := range all {
		if want(c) {
			out = append(out, c)
		}
	}
	return out
}

func endpointsOf(cs []candidate) []Endpoint {
	if len(cs) == 0 {
		return nil
	}
	out := make([]Endpoint, len(cs))
	for i, c := range cs {
		out[i] = c.Endpoint
	}
	return sortEndpoints(out)
}

func deref[T any](p *T, otherwise T) T {
	if p == nil {
		return otherwise
	}
	return *p
}
