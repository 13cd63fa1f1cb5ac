package records

import (
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// TTL is how many seconds answers may be kept: kubeadm's setting of CoreDNS.
const TTL = 30

// SchemaVersion is the version of the specification that names follow.
const SchemaVersion = "1.1.0"

// Zone holds the objects of a cluster and answers for its domain. It is safe
// for concurrent use.
type Zone struct {
	domain string // canonical: lower case, with a dot at the end

	mu          sync.RWMutex
	services    map[string]*corev1.Service                       // by namespace/name
	slices      map[string]map[string]*discoveryv1.EndpointSlice // by service, by name
	namespaces  map[string]bool
	clusterIPs  index               // address → services
	hostnames   index               // address → services with an endpoint there that has a hostname
	nameServers map[netip.Addr]bool // our own addresses
	serial      uint32              // rises with every change
}

// index counts, for each address, why a service is found by it.
type index map[netip.Addr]map[string]int

func (x index) add(a netip.Addr, key string, n int) {
	if x[a] == nil {
		x[a] = map[string]int{}
	}
	if x[a][key] += n; x[a][key] <= 0 {
		delete(x[a], key)
	}
	if len(x[a]) == 0 {
		delete(x, a)
	}
}

// NewZone returns an empty Zone for a domain such as cluster.local. The
// addresses are those of the name servers.
func NewZone(domain string, nameServers ...netip.Addr) *Zone {
	z := &Zone{
		domain:      dns.CanonicalName(domain),
		services:    map[string]*corev1.Service{},
		slices:      map[string]map[string]*discoveryv1.EndpointSlice{},
		namespaces:  map[string]bool{},
		clusterIPs:  index{},
		hostnames:   index{},
		nameServers: map[netip.Addr]bool{},
		serial:      1,
	}
	for _, a := range nameServers {
		if !a.IsUnspecified() {
			z.nameServers[a.Unmap()] = true
		}
	}
	return z
}

// Domain returns the zone's name with a dot at the end.
func (z *Zone) Domain() string { return z.domain }

// SetNamespace adds a namespace.
func (z *Zone) SetNamespace(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.namespaces[name] = true
	z.serial++
}

// DeleteNamespace forgets a namespace.
func (z *Zone) DeleteNamespace(name string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	delete(z.namespaces, name)
	z.serial++
}

// SetService adds or replaces a service. It must not be modified afterwards.
func (z *Zone) SetService(s *corev1.Service) {
	key := s.Namespace + "/" + s.Name
	z.mu.Lock()
	defer z.mu.Unlock()
	z.indexService(key, z.services[key], -1)
	z.indexService(key, s, 1)
	z.services[key] = s
	z.serial++
}

// DeleteService forgets a service.
func (z *Zone) DeleteService(namespace, name string) {
	key := namespace + "/" + name
	z.mu.Lock()
	defer z.mu.Unlock()
	z.indexService(key, z.services[key], -1)
	delete(z.services, key)
	z.serial++
}

func (z *Zone) indexService(key string, s *corev1.Service, n int) {
	if s == nil {
		return
	}
	for _, a := range clusterIPs(s) {
		z.clusterIPs.add(a, key, n)
	}
}

// SetSlice adds or replaces an EndpointSlice. It must not be modified afterwards.
func (z *Zone) SetSlice(s *discoveryv1.EndpointSlice) {
	key := ownerOf(s)
	if key == "" {
		return
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.indexSlice(key, z.slices[key][s.Name], -1)
	z.indexSlice(key, s, 1)
	if z.slices[key] == nil {
		z.slices[key] = map[string]*discoveryv1.EndpointSlice{}
	}
	z.slices[key][s.Name] = s
	z.serial++
}

// DeleteSlice forgets an EndpointSlice.
func (z *Zone) DeleteSlice(s *discoveryv1.EndpointSlice) {
	key := ownerOf(s)
	z.mu.Lock()
	defer z.mu.Unlock()
	z.indexSlice(key, z.slices[key][s.Name], -1)
	delete(z.slices[key], s.Name)
	if len(z.slices[key]) == 0 {
		delete(z.slices, key)
	}
	z.serial++
}

func (z *Zone) indexSlice(key string, s *discoveryv1.EndpointSlice, n int) {
	if s == nil {
		return
	}
	for i := range s.Endpoints {
		e := &s.Endpoints[i]
		if e.Hostname == nil || *e.Hostname == "" {
			continue
		}
		for _, ip := range e.Addresses {
			if a, err := netip.ParseAddr(ip); err == nil {
				z.hostnames.add(a.Unmap(), key, n)
			}
		}
	}
}

func ownerOf(s *discoveryv1.EndpointSlice) string {
	if owner := s.Labels[discoveryv1.LabelServiceName]; owner != "" {
		return s.Namespace + "/" + owner
	}
	return ""
}

func headless(s *corev1.Service) bool {
	return s.Spec.ClusterIP == corev1.ClusterIPNone || s.Spec.ClusterIP == ""
}

func clusterIPs(s *corev1.Service) []netip.Addr {
	if s.Spec.Type == corev1.ServiceTypeExternalName || headless(s) {
		return nil
	}
	ips := s.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{s.Spec.ClusterIP}
	}
	var out []netip.Addr
	for _, ip := range ips {
		if a, err := netip.ParseAddr(ip); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// endpoint is a ready endpoint of a service.
type endpoint struct {
	addr     netip.Addr
	hostname string // given, or made of the address
	given    bool
	ports    []discoveryv1.EndpointPort
}

// endpoints returns the ready endpoints of a service. The caller holds the lock.
func (z *Zone) endpoints(key string) []endpoint {
	var out []endpoint
	for _, s := range z.slices[key] {
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if e.Conditions.Ready != nil && !*e.Conditions.Ready {
				continue
			}
			for _, ip := range e.Addresses {
				a, err := netip.ParseAddr(ip)
				if err != nil {
					continue // a slice of names
				}
				ep := endpoint{addr: a.Unmap(), ports: s.Ports, hostname: dashed(a)}
				if e.Hostname != nil && *e.Hostname != "" {
					ep.hostname, ep.given = strings.ToLower(*e.Hostname), true
				}
				out = append(out, ep)
			}
		}
	}
	return out
}

func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.Unmap().String())
}
