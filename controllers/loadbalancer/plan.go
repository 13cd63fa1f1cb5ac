package loadbalancer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/internal/addrpool"
)

// Class is the spec.loadBalancerClass that is ours, beside none.
const Class = "skiff.dev/load-balancer"

// Labels and taints that keep a node from being a load balancer
// (https://kubernetes.io/docs/reference/labels-annotations-taints/).
const (
	excluded  = corev1.LabelNodeExcludeBalancers
	goingAway = "ToBeDeletedByClusterAutoscaler"
)

// ours tells whether svc gets its addresses here.
func ours(svc *corev1.Service) bool {
	return svc.DeletionTimestamp == nil && svc.Spec.Type == corev1.ServiceTypeLoadBalancer &&
		ptr.Deref(svc.Spec.LoadBalancerClass, Class) == Class
}

// claims are the addresses of the pool that are given out, and to whom.
type claims map[netip.Addr]string

// planPool chooses svc's addresses: those that it has, that it asks for, or
// any free ones, one for each family.
func planPool(svc *corev1.Service, key string, pool addrpool.Pool, taken claims) ([]corev1.LoadBalancerIngress, error) {
	free := func(a netip.Addr) bool { return pool.Contains(a) && (taken[a] == "" || taken[a] == key) }
	var out []corev1.LoadBalancerIngress
	for _, family := range svc.Spec.IPFamilies {
		is6 := family == corev1.IPv6Protocol
		a, err := choose(svc, is6, pool, free)
		if err != nil {
			if len(out) > 0 || len(svc.Spec.IPFamilies) > 1 && !errors.Is(err, errTaken) {
				continue // a pool of one family serves a service of two by one
			}
			return nil, err
		}
		out = append(out, corev1.LoadBalancerIngress{IP: a.String(), IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)})
	}
	if len(out) == 0 {
		return nil, errFull
	}
	return out, nil
}

var (
	errFull  = errors.New("the load-balancer pool has no free address")
	errTaken = errors.New("the address that spec.loadBalancerIP asks for cannot be had")
)

func choose(svc *corev1.Service, is6 bool, pool addrpool.Pool, free func(netip.Addr) bool) (netip.Addr, error) {
	if asked, err := netip.ParseAddr(svc.Spec.LoadBalancerIP); err == nil && asked.Is6() == is6 {
		if !free(asked) {
			return asked, fmt.Errorf("%w: %s is not free in the pool", errTaken, asked)
		}
		return asked, nil
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil && a.Is6() == is6 && free(a) {
			return a, nil
		}
	}
	for a := range pool.All(is6) {
		if free(a) {
			return a, nil
		}
	}
	return netip.Addr{}, errFull
}

// planNodes gives svc the addresses of the nodes that serve it. Their mode is
// Proxy: the node that has the address is the load balancer, and nobody else
// may take a short cut.
func planNodes(svc *corev1.Service, nodes []corev1.Node, slices_ []discoveryv1.EndpointSlice) []corev1.LoadBalancerIngress {
	local := map[string]bool{}
	for i := range slices_ {
		for _, e := range slices_[i].Endpoints {
			if e.NodeName != nil && ptr.Deref(e.Conditions.Ready, true) {
				local[*e.NodeName] = true
			}
		}
	}
	var found []netip.Addr
	for i := range nodes {
		n := &nodes[i]
		if !serves(n) || svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal && !local[n.Name] {
			continue
		}
		for _, family := range svc.Spec.IPFamilies {
			if a, ok := addressOf(n, family == corev1.IPv6Protocol); ok {
				found = append(found, a)
			}
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	var out []corev1.LoadBalancerIngress
	for _, a := range slices.Compact(found) {
		out = append(out, corev1.LoadBalancerIngress{IP: a.String(), IPMode: ptr.To(corev1.LoadBalancerIPModeProxy)})
	}
	return out
}

// serves tells whether a node may be a load balancer.
func serves(n *corev1.Node) bool {
	_, out := n.Labels[excluded]
	if out || n.DeletionTimestamp != nil || slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == goingAway }) {
		return false
	}
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

// addressOf returns a node's address: an external one if it has any.
func addressOf(n *corev1.Node, is6 bool) (netip.Addr, bool) {
	for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
		for _, in := range n.Status.Addresses {
			if a, err := netip.ParseAddr(in.Address); err == nil && in.Type == kind && a.Is6() == is6 {
				return a, true
			}
		}
	}
	return netip.Addr{}, false
}

// conflict names a service that has one of svc's ports on the nodes' addresses
// already: an older one, or one with a lesser name among equals.
func conflict(svc *corev1.Service, all []corev1.Service) error {
	for i := range all {
		other := &all[i]
		if other.UID == svc.UID || !ours(other) || !before(other, svc) {
			continue
		}
		for _, p := range svc.Spec.Ports {
			for _, q := range other.Spec.Ports {
				if p.Port == q.Port && p.Protocol == q.Protocol {
					return fmt.Errorf("port %d/%s of the nodes is used by service %s/%s", p.Port, p.Protocol, other.Namespace, other.Name)
				}
			}
		}
	}
	return nil
}

func before(a, b *corev1.Service) bool {
	if !a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.CreationTimestamp.Before(&b.CreationTimestamp)
	}
	return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
}
