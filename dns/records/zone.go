package records

import (
	"net/netip"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// SchemaVersion is the version of the specification that names follow.
const SchemaVersion = "1.1.0"

// Zone holds the objects of a cluster; a View of it answers. It is safe for
// concurrent use.
type Zone struct {
	mu          sync.RWMutex
	services    map[string]*corev1.Service                       // by namespace/name
	slices      map[string]map[string]*discoveryv1.EndpointSlice // by service, by name
	namespaces  map[string]labels.Set
	pods        map[netip.Addr]map[string]*corev1.Pod // by address, by namespace/name
	clusterIPs  index                                 // address → services
	hostnames   index                                 // address → services with an endpoint there that has a hostname
	nameServers map[netip.Addr]bool                   // our own addresses
	serial      uint32                                // rises with every change
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

// NewZone returns an empty Zone. The addresses are those of the name servers.
func NewZone(nameServers ...netip.Addr) *Zone {
	z := &Zone{
		services:    map[string]*corev1.Service{},
		slices:      map[string]map[string]*discoveryv1.EndpointSlice{},
		namespaces:  map[string]labels.Set{},
		pods:        map[netip.Addr]map[string]*corev1.Pod{},
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

// SetNamespace adds or replaces a namespace with its labels.
func (z *Zone) SetNamespace(name string, l labels.Set) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.namespaces[name] = l
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

// SetPod adds or replaces a pod. One that is being deleted is forgotten, as
// CoreDNS does. It must not be modified afterwards.
func (z *Zone) SetPod(p *corev1.Pod) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if p.DeletionTimestamp != nil {
		z.dropPod(p)
		return
	}
	for _, a := range podAddresses(p) {
		if z.pods[a] == nil {
			z.pods[a] = map[string]*corev1.Pod{}
		}
		z.pods[a][p.Namespace+"/"+p.Name] = p
	}
}

// DeletePod forgets a pod.
func (z *Zone) DeletePod(p *corev1.Pod) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.dropPod(p)
}

func (z *Zone) dropPod(p *corev1.Pod) {
	for _, a := range podAddresses(p) {
		delete(z.pods[a], p.Namespace+"/"+p.Name)
		if len(z.pods[a]) == 0 {
			delete(z.pods, a)
		}
	}
}

// Pod returns a pod that has the address, or nil. It must not be modified.
func (z *Zone) Pod(a netip.Addr) *corev1.Pod {
	z.mu.RLock()
	defer z.mu.RUnlock()
	for _, p := range z.pods[a.Unmap()] {
		return p
	}
	return nil
}

func podAddresses(p *corev1.Pod) []netip.Addr {
	var out []netip.Addr
	for _, ip := range p.Status.PodIPs {
		if a, err := netip.ParseAddr(ip.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
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

func dashed(a netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(a.Unmap().String())
}
