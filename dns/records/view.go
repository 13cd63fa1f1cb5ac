package records

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// PodMode says which names of pods by address are answered: CoreDNS's option pods.
type PodMode string

// The modes of CoreDNS.
const (
	PodsDisabled PodMode = "disabled"
	PodsInsecure PodMode = "insecure" // whatever address the name says
	PodsVerified PodMode = "verified" // when a pod of the namespace has it
)

// maxLabel is the length of a label in a name (RFC 1035).
const maxLabel = 63

// View is what is shown of a Zone, and how: the options of CoreDNS's plugin
// kubernetes.
type View struct {
	// Domain is the cluster's, such as cluster.local.: lower case, with a dot
	// at the end.
	Domain string
	// TTL is how many seconds answers may be kept.
	TTL uint32
	// Pods is PodsDisabled when empty.
	Pods PodMode
	// EndpointPodNames names endpoints without hostname by their pods.
	EndpointPodNames bool
	// NoEndpoints answers for services with an address only.
	NoEndpoints bool
	// IgnoreEmpty hides services without ready endpoints.
	IgnoreEmpty bool
	// Namespaces are those shown; all when empty.
	Namespaces []string
	// NamespaceLabels and Labels select namespaces, and services and pods; nil
	// selects all.
	NamespaceLabels, Labels labels.Selector
}

// under returns the name of that label below the domain.
func (v *View) under(label string) string {
	if v.Domain == "." {
		return label + "."
	}
	return label + "." + v.Domain
}

// IsPod tells whether a canonical name is below those of pods.
func (v *View) IsPod(qname string) bool { return dns.IsSubDomain(v.under("pod"), qname) }

// reading is a View of a Zone whose lock is held.
type reading struct {
	*Zone
	*View
}

func (r reading) showsNamespace(name string) bool {
	if len(r.Namespaces) > 0 && !slices.Contains(r.Namespaces, name) {
		return false
	}
	return r.NamespaceLabels == nil || r.NamespaceLabels.Matches(r.namespaces[name])
}

// hasNamespace tells whether the namespace exists and is shown.
func (r reading) hasNamespace(name string) bool {
	_, ok := r.namespaces[name]
	return ok && r.showsNamespace(name)
}

// service returns a service that is shown, or nil.
func (r reading) service(key string) *corev1.Service {
	s := r.services[key]
	if s == nil || !r.showsNamespace(s.Namespace) || !r.selects(s.Labels) {
		return nil
	}
	return s
}

func (r reading) selects(l labels.Set) bool { return r.Labels == nil || r.Labels.Matches(l) }

// hasPod tells whether a pod of the namespace with that address is shown.
func (r reading) hasPod(namespace string, a netip.Addr) bool {
	for _, p := range r.pods[a] {
		if p.Namespace == namespace && r.selects(p.Labels) {
			return true
		}
	}
	return false
}

// endpoint is a ready endpoint of a service.
type endpoint struct {
	addr     netip.Addr
	hostname string // given, or made of the pod's name or the address
	given    bool
	ports    []discoveryv1.EndpointPort
}

// endpoints returns the ready endpoints of a service.
func (r reading) endpoints(key string) []endpoint {
	if r.NoEndpoints {
		return nil
	}
	var out []endpoint
	for _, s := range r.slices[key] {
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
				switch pod := e.TargetRef; {
				case e.Hostname != nil && *e.Hostname != "":
					ep.hostname, ep.given = strings.ToLower(*e.Hostname), true
				case r.EndpointPodNames && pod != nil && pod.Kind == "Pod" && pod.Name != "" && len(pod.Name) <= maxLabel:
					ep.hostname = pod.Name
				}
				out = append(out, ep)
			}
		}
	}
	return out
}
