package endpointslicemirroring

import (
	"maps"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	endpointsliceutil "k8s.io/endpointslice/util"
	"k8s.io/utils/ptr"
)

// maxPerSubset is how many addresses of a subset are mirrored
// (--mirroring-max-endpoints-per-subset).
const maxPerSubset = 1000

// plan is what to do so that the slices show the Endpoints.
type plan struct {
	create, update, delete []*discoveryv1.EndpointSlice
	// Addresses that are left out: no addresses, and too many.
	invalid, excess int
}

// isMirrored tells whether Endpoints are to be shown as slices: made by hand, for
// a service without a selector, not a lock, and not asked to be left out.
func isMirrored(endpoints *corev1.Endpoints, service *corev1.Service) bool {
	if endpoints == nil || service == nil || service.Spec.Selector != nil || endpoints.DeletionTimestamp != nil {
		return false
	}
	if endpoints.Labels[discoveryv1.LabelSkipMirror] == "true" {
		return false
	}
	_, isLock := endpoints.Annotations[resourcelock.LeaderElectionRecordAnnotationKey]
	return !isLock
}

// group is what the endpoints of one slice share.
type group struct {
	family discoveryv1.AddressType
	ports  endpointsliceutil.PortMapKey
}

// planSlices compares what the Endpoints say with the slices there are.
func planSlices(endpoints *corev1.Endpoints, existing []*discoveryv1.EndpointSlice) plan {
	var p plan
	wanted := map[group]*discoveryv1.EndpointSlice{}
	var order []group
	subsets := repack(endpoints.Subsets)
	for i := range subsets {
		subset := &subsets[i]
		ports := portsOf(subset)
		taken := 0
		add := func(address corev1.EndpointAddress, ready bool) {
			family, ok := familyOf(address.IP)
			switch {
			case !ok:
				p.invalid++
				return
			case taken == maxPerSubset:
				p.excess++
				return
			}
			taken++
			key := group{family, endpointsliceutil.NewPortMapKey(ports)}
			if wanted[key] == nil {
				wanted[key] = newSlice(endpoints, family, ports)
				order = append(order, key)
			}
			wanted[key].Endpoints = append(wanted[key].Endpoints, endpointOf(address, ready))
		}
		for _, address := range subset.Addresses {
			add(address, true)
		}
		for _, address := range subset.NotReadyAddresses {
			add(address, false)
		}
	}
	found := map[group]bool{}
	for _, slice := range existing {
		key := group{slice.AddressType, endpointsliceutil.NewPortMapKey(slice.Ports)}
		want := wanted[key]
		if want == nil || found[key] || !metav1.IsControlledBy(slice, endpoints) {
			p.delete = append(p.delete, slice)
			continue
		}
		found[key] = true
		if apiequality.Semantic.DeepEqual(slice.Endpoints, want.Endpoints) && maps.Equal(slice.Labels, want.Labels) && maps.Equal(slice.Annotations, want.Annotations) {
			continue
		}
		changed := slice.DeepCopy()
		changed.Endpoints, changed.Labels, changed.Annotations = want.Endpoints, want.Labels, want.Annotations
		p.update = append(p.update, changed)
	}
	for _, key := range order {
		if !found[key] {
			p.create = append(p.create, wanted[key])
		}
	}
	return p
}

func newSlice(endpoints *corev1.Endpoints, family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) *discoveryv1.EndpointSlice {
	labels := maps.Clone(endpoints.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName] = endpoints.Name
	labels[discoveryv1.LabelManagedBy] = ManagedBy
	annotations := maps.Clone(endpoints.Annotations)
	delete(annotations, corev1.LastAppliedConfigAnnotation)
	delete(annotations, corev1.EndpointsLastChangeTriggerTime)
	return &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName:    endpoints.Name + "-",
			Namespace:       endpoints.Namespace,
			Labels:          labels,
			Annotations:     annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(endpoints, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family,
		Ports:       ports,
	}
}

func portsOf(subset *corev1.EndpointSubset) []discoveryv1.EndpointPort {
	ports := make([]discoveryv1.EndpointPort, 0, len(subset.Ports))
	for i := range subset.Ports {
		port := subset.Ports[i]
		ports = append(ports, discoveryv1.EndpointPort{Name: &port.Name, Port: &port.Port, Protocol: &port.Protocol, AppProtocol: port.AppProtocol})
	}
	return ports
}

func endpointOf(address corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	endpoint := discoveryv1.Endpoint{
		Addresses:  []string{address.IP},
		Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(ready)},
		TargetRef:  address.TargetRef,
		NodeName:   address.NodeName,
	}
	if address.Hostname != "" {
		endpoint.Hostname = ptr.To(address.Hostname)
	}
	return endpoint
}

func familyOf(ip string) (discoveryv1.AddressType, bool) {
	address, err := netip.ParseAddr(ip)
	switch {
	case err != nil:
		return "", false
	case address.Is4():
		return discoveryv1.AddressTypeIPv4, true
	}
	return discoveryv1.AddressTypeIPv6, true
}

// byName sorts slices, so that plans do not depend on the cache's order.
func byName(list []*discoveryv1.EndpointSlice) {
	slices.SortFunc(list, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
}
