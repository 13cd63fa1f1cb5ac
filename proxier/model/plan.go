package model

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// proxyNameLabel marks services that another proxy serves.
const proxyNameLabel = "service.kubernetes.io/service-proxy-name"

// Node is what decisions depend on of the node.
type Node struct {
	Name string
	// Zone is the value of topology.kubernetes.io/zone, empty when not known.
	Zone string
	// Addresses are the node's own.
	Addresses []netip.Addr
}

func (n Node) equal(m Node) bool {
	return n.Name == m.Name && n.Zone == m.Zone && slices.Equal(n.Addresses, m.Addresses)
}

func (n Node) has(a netip.Addr) bool { return slices.Contains(n.Addresses, a) }

// Wanted tells whether a proxy has anything to do for svc: it has a cluster
// IP and no other proxy was named for it.
func Wanted(svc *corev1.Service) bool {
	if _, other := svc.Labels[proxyNameLabel]; other {
		return false
	}
	return svc.Spec.Type != corev1.ServiceTypeExternalName &&
		svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone
}

// Plan decides what the node does for svc with the endpoints in endpointSlices.
// It returns nil for services that are not Wanted.
func Plan(svc *corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node Node) *Service {
	if !Wanted(svc) {
		return nil
	}
	plan := &Service{Key: svc.Namespace + "/" + svc.Name}
	externalLocal := svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
	internalLocal := svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer && externalLocal && svc.Spec.HealthCheckNodePort > 0 {
		plan.HealthCheck = uint16(svc.Spec.HealthCheckNodePort)
		plan.LocalReady = countLocalReady(endpointSlices, node.Name)
	}
	for _, ip := range clusterIPs(svc) {
		family := familyOf(ip)
		for i := range svc.Spec.Ports {
			sp := &svc.Spec.Ports[i]
			port := Port{Name: sp.Name, Protocol: sp.Protocol, Family: family, Affinity: affinity(svc)}
			if port.Protocol == "" {
				port.Protocol = corev1.ProtocolTCP
			}
			all := candidates(endpointSlices, family, sp.Name, port.Protocol, node.Name)
			port.Cluster = clusterPool(all, node)
			port.Local = localPool(all)
			port.Draining = endpointsOf(pick(all, func(c candidate) bool { return c.draining }))
			port.Frontends = frontends(svc, sp, ip, node, internalLocal, externalLocal)
			plan.Ports = append(plan.Ports, port)
		}
	}
	return plan
}

func clusterIPs(svc *corev1.Service) []netip.Addr {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	return parseAddrs(ips)
}

func frontends(svc *corev1.Service, sp *corev1.ServicePort, clusterIP netip.Addr, node Node, internalLocal, externalLocal bool) []Frontend {
	port := uint16(sp.Port)
	fs := []Frontend{{Kind: ClusterIP, Addr: clusterIP, Port: port, Local: internalLocal}}
	seen := map[netip.Addr]bool{clusterIP: true}
	add := func(f Frontend) {
		f.OwnAddr = node.has(f.Addr)
		if f.Addr.Is4() == clusterIP.Is4() && !seen[f.Addr] {
			seen[f.Addr] = true
			fs = append(fs, f)
		}
	}
	for _, ip := range parseAddrs(svc.Spec.ExternalIPs) {
		add(Frontend{Kind: External, Addr: ip, Port: port, Local: externalLocal})
	}
	if svc.Spec.Type == corev1.ServiceTypeLoadBalancer {
		var ranges []netip.Prefix
		restricted := false
		for _, s := range svc.Spec.LoadBalancerSourceRanges {
			p, err := netip.ParsePrefix(strings.TrimSpace(s))
			if err != nil {
				continue // validation lets no such range in
			}
			restricted = true
			if p.Addr().Is4() == clusterIP.Is4() {
				ranges = append(ranges, p.Masked())
			}
		}
		if restricted && len(ranges) == 0 {
			// Ranges of the other family only: nobody of this family may enter.
			ranges = []netip.Prefix{netip.PrefixFrom(clusterIP, clusterIP.BitLen())}
		}
		for _, in := range svc.Status.LoadBalancer.Ingress {
			proxied := in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy
			for _, ip := range parseAddrs([]string{in.IP}) {
				if proxied && !node.has(ip) {
					continue // the load balancer does it, which may be this node
				}
				add(Frontend{Kind: External, Addr: ip, Port: port, Local: externalLocal, SourceRanges: ranges})
			}
		}
	}
	if sp.NodePort > 0 {
		fs = append(fs, Frontend{Kind: NodePort, Port: uint16(sp.NodePort), Local: externalLocal})
	}
	return fs
}

func affinity(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		return time.Duration(*c.ClientIP.TimeoutSeconds) * time.Second
	}
	return time.Duration(corev1.DefaultClientIPServiceAffinitySeconds) * time.Second
}

func parseAddrs(in []string) []netip.Addr {
	var out []netip.Addr
	for _, s := range in {
		if a, err := netip.ParseAddr(s); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

func compareEndpoints(a, b Endpoint) int { return a.AddrPort.Compare(b.AddrPort) }

func sortEndpoints(eps []Endpoint) []Endpoint {
	slices.SortFunc(eps, compareEndpoints)
	return slices.CompactFunc(eps, func(a, b Endpoint) bool { return a.AddrPort == b.AddrPort })
}
