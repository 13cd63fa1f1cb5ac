package endpointslicemirroring

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// host is what offers ports: an address, and the pod where pods share it.
type host struct {
	ip  string
	uid types.UID
}

// offer is a port and who has it: ready, unless a subset says that it is not.
type offer struct {
	port  *corev1.EndpointPort // nil: of hosts without ports
	hosts []host
	ready map[host]bool
}

// repack gives subsets that say the same, in which each port is once: those with
// the same hosts become one subset. What people write may have a port in several.
func repack(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	addresses := map[host]corev1.EndpointAddress{}
	offers := map[string]*offer{}
	var order []*offer
	for i := range subsets {
		for _, o := range offersOf(&subsets[i], offers, &order) {
			o.add(subsets[i].Addresses, true, addresses)
			o.add(subsets[i].NotReadyAddresses, false, addresses)
		}
	}
	var out []corev1.EndpointSubset
	byHosts := map[string]int{}
	for _, o := range order {
		key := o.key()
		at, known := byHosts[key]
		if !known {
			at = len(out)
			byHosts[key] = at
			out = append(out, o.subset(addresses))
		}
		if o.port != nil {
			out[at].Ports = append(out[at].Ports, *o.port)
		}
	}
	return out
}

// offersOf finds the offers of a subset's ports, or begins them.
func offersOf(subset *corev1.EndpointSubset, offers map[string]*offer, order *[]*offer) []*offer {
	find := func(key string, port *corev1.EndpointPort) *offer {
		if offers[key] == nil {
			offers[key] = &offer{port: port, ready: map[host]bool{}}
			*order = append(*order, offers[key])
		}
		return offers[key]
	}
	if len(subset.Ports) == 0 {
		return []*offer{find("", nil)}
	}
	var out []*offer
	for i := range subset.Ports {
		p := &subset.Ports[i]
		out = append(out, find(fmt.Sprintf("%s/%s/%d/%s", p.Name, p.Protocol, p.Port, ptr.Deref(p.AppProtocol, "")), p))
	}
	return out
}

func (o *offer) add(list []corev1.EndpointAddress, ready bool, addresses map[host]corev1.EndpointAddress) {
	for _, a := range list {
		h := host{ip: a.IP}
		if a.TargetRef != nil {
			h.uid = a.TargetRef.UID
		}
		if _, known := addresses[h]; !known {
			addresses[h] = a
		}
		was, known := o.ready[h]
		if !known {
			o.hosts = append(o.hosts, h)
		}
		o.ready[h] = ready && (was || !known)
	}
}

// key is the same for ports that the same hosts offer.
func (o *offer) key() string {
	all := make([]string, 0, len(o.hosts))
	for _, h := range o.hosts {
		all = append(all, fmt.Sprintf("%s/%s/%t", h.ip, h.uid, o.ready[h]))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func (o *offer) subset(addresses map[host]corev1.EndpointAddress) corev1.EndpointSubset {
	var out corev1.EndpointSubset
	for _, h := range o.hosts {
		if o.ready[h] {
			out.Addresses = append(out.Addresses, addresses[h])
		} else {
			out.NotReadyAddresses = append(out.NotReadyAddresses, addresses[h])
		}
	}
	return out
}
