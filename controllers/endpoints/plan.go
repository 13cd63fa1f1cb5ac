package endpoints

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/endpointslice"
	endpointsliceutil "k8s.io/endpointslice/util"
)

const (
	// maxCapacity is how many addresses Endpoints hold at most.
	maxCapacity = 1000
	// truncated is the value of the annotation endpoints.kubernetes.io/over-capacity.
	truncated = "truncated"
	// managedByLabel tells who made Endpoints; its value is Name.
	managedByLabel = "endpoints.kubernetes.io/managed-by"
)

// plan returns the Endpoints to write for the service, nil when those found are
// right. found is nil when there are none. changed is when the change that this
// turn answers happened, zero when unknown.
func plan(service *corev1.Service, pods []*corev1.Pod, found *corev1.Endpoints, changed time.Time) *corev1.Endpoints {
	wanted := subsets(service, pods)
	over := truncate(wanted)
	labels := labelsOf(service)
	if found != nil &&
		equalSubsets(found.Subsets, wanted) &&
		apiequality.Semantic.DeepEqual(found.Labels, labels) &&
		(found.Annotations[corev1.EndpointsOverCapacity] == truncated) == over {
		return nil
	}
	endpoints := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: service.Name}}
	if found != nil {
		endpoints = found.DeepCopy()
	}
	endpoints.Subsets = wanted
	endpoints.Labels = labels
	if endpoints.Annotations == nil {
		endpoints.Annotations = map[string]string{}
	}
	delete(endpoints.Annotations, corev1.EndpointsLastChangeTriggerTime)
	if !changed.IsZero() {
		endpoints.Annotations[corev1.EndpointsLastChangeTriggerTime] = changed.UTC().Format(time.RFC3339Nano)
	}
	delete(endpoints.Annotations, corev1.EndpointsOverCapacity)
	if over {
		endpoints.Annotations[corev1.EndpointsOverCapacity] = truncated
	}
	return endpoints
}

// labelsOf are the service's labels, whether it is headless, and who made them.
func labelsOf(service *corev1.Service) map[string]string {
	labels := maps.Clone(service.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	delete(labels, corev1.IsHeadlessService)
	if service.Spec.ClusterIP == "" || service.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	labels[managedByLabel] = Name
	return labels
}

// subsets groups the pods' addresses by the ports that they serve on: pods with
// different numbers for one named port are in different subsets.
func subsets(service *corev1.Service, pods []*corev1.Pod) []corev1.EndpointSubset {
	byPorts := map[string]*corev1.EndpointSubset{}
	for _, pod := range pods {
		if !endpointsliceutil.ShouldPodBeInEndpoints(pod, service.Spec.PublishNotReadyAddresses) {
			continue
		}
		address, ok := addressOf(service, pod)
		if !ok {
			continue
		}
		ports := portsOf(service, pod)
		if len(ports) == 0 && (len(service.Spec.Ports) > 0 || service.Spec.ClusterIP != corev1.ClusterIPNone) {
			continue // only a headless service may have addresses without ports
		}
		key := portsKey(ports)
		subset := byPorts[key]
		if subset == nil {
			subset = &corev1.EndpointSubset{Ports: ports}
			byPorts[key] = subset
		}
		if service.Spec.PublishNotReadyAddresses || endpointsliceutil.IsPodReady(pod) {
			subset.Addresses = append(subset.Addresses, address)
		} else {
			subset.NotReadyAddresses = append(subset.NotReadyAddresses, address)
		}
	}
	result := []corev1.EndpointSubset{}
	for _, key := range slices.Sorted(maps.Keys(byPorts)) {
		subset := *byPorts[key]
		slices.SortFunc(subset.Addresses, byAddress)
		slices.SortFunc(subset.NotReadyAddresses, byAddress)
		result = append(result, subset)
	}
	return result
}

// portsOf returns the service's ports as this pod serves them, sorted.
func portsOf(service *corev1.Service, pod *corev1.Pod) []corev1.EndpointPort {
	var ports []corev1.EndpointPort
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		number, err := endpointslice.FindPort(pod, port)
		if err != nil {
			continue // the pod has no port of that name
		}
		ports = append(ports, corev1.EndpointPort{
			Name: port.Name, Port: int32(number), Protocol: port.Protocol, AppProtocol: port.AppProtocol,
		})
	}
	slices.SortFunc(ports, func(a, b corev1.EndpointPort) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), strings.Compare(string(a.Protocol), string(b.Protocol)))
	})
	return ports
}

func portsKey(ports []corev1.EndpointPort) string {
	var key strings.Builder
	for _, port := range ports {
		app := ""
		if port.AppProtocol != nil {
			app = *port.AppProtocol
		}
		fmt.Fprintf(&key, "%s/%05d/%s/%s;", port.Name, port.Port, port.Protocol, app)
	}
	return key.String()
}

func byAddress(a, b corev1.EndpointAddress) int {
	uid := func(address corev1.EndpointAddress) string {
		if address.TargetRef == nil {
			return ""
		}
		return string(address.TargetRef.UID)
	}
	return cmp.Or(strings.Compare(a.IP, b.IP), strings.Compare(uid(a), uid(b)))
}

// addressOf is the pod's address of the service's first IP family; not ok when
// the pod has none of it.
func addressOf(service *corev1.Service, pod *corev1.Pod) (corev1.EndpointAddress, bool) {
	wantIPv6 := false
	switch {
	case len(service.Spec.IPFamilies) > 0:
		wantIPv6 = service.Spec.IPFamilies[0] == corev1.IPv6Protocol
	case service.Spec.ClusterIP != "" && service.Spec.ClusterIP != corev1.ClusterIPNone:
		wantIPv6 = isIPv6(service.Spec.ClusterIP)
	default:
		wantIPv6 = isIPv6(pod.Status.PodIP)
	}
	ips := pod.Status.PodIPs
	if len(ips) == 0 {
		ips = []corev1.PodIP{{IP: pod.Status.PodIP}}
	}
	for _, ip := range ips {
		if ip.IP == "" || isIPv6(ip.IP) != wantIPv6 {
			continue
		}
		address := corev1.EndpointAddress{
			IP: ip.IP,
			TargetRef: &corev1.ObjectReference{
				Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
			},
		}
		if pod.Spec.NodeName != "" {
			node := pod.Spec.NodeName
			address.NodeName = &node
		}
		if endpointsliceutil.ShouldSetHostname(pod, service) {
			address.Hostname = pod.Spec.Hostname
		}
		return address, true
	}
	return corev1.EndpointAddress{}, false
}

func isIPv6(text string) bool {
	address, err := netip.ParseAddr(text)
	return err == nil && address.Is6() && !address.Is4In6()
}

// truncate cuts the subsets down to maxCapacity addresses and tells whether it
// had to. Ready addresses go first; each subset keeps its share of what is left,
// rounded up, so that the last may get less.
func truncate(subsets []corev1.EndpointSubset) bool {
	ready, notReady := 0, 0
	for i := range subsets {
		ready += len(subsets[i].Addresses)
		notReady += len(subsets[i].NotReadyAddresses)
	}
	if ready+notReady <= maxCapacity {
		return false
	}
	if ready >= maxCapacity {
		cut(subsets, ready, maxCapacity, func(s *corev1.EndpointSubset) *[]corev1.EndpointAddress { return &s.Addresses })
		for i := range subsets {
			subsets[i].NotReadyAddresses = nil
		}
		return true
	}
	cut(subsets, notReady, maxCapacity-ready, func(s *corev1.EndpointSubset) *[]corev1.EndpointAddress { return &s.NotReadyAddresses })
	return true
}

// cut shortens the lists that of returns, total addresses long together, to
// room.
func cut(subsets []corev1.EndpointSubset, total, room int, of func(*corev1.EndpointSubset) *[]corev1.EndpointAddress) {
	left := room
	for i := range subsets {
		list := of(&subsets[i])
		share := int(math.Ceil(float64(len(*list)) / float64(total) * float64(room)))
		if share = min(share, left, len(*list)); share < len(*list) {
			*list = (*list)[:share]
		}
		left -= len(*list)
	}
}

// equalSubsets ignores the resourceVersion of the pods that addresses name: a
// pod that changes in other things is no change here.
func equalSubsets(a, b []corev1.EndpointSubset) bool {
	return apiequality.Semantic.DeepEqual(withoutVersions(a), withoutVersions(b))
}

func withoutVersions(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	clean := func(addresses []corev1.EndpointAddress) []corev1.EndpointAddress {
		if !slices.ContainsFunc(addresses, func(a corev1.EndpointAddress) bool { return a.TargetRef != nil && a.TargetRef.ResourceVersion != "" }) {
			return addresses
		}
		cleaned := slices.Clone(addresses)
		for i := range cleaned {
			if cleaned[i].TargetRef != nil {
				ref := *cleaned[i].TargetRef
				ref.ResourceVersion = ""
				cleaned[i].TargetRef = &ref
			}
		}
		return cleaned
	}
	result := slices.Clone(subsets)
	for i := range result {
		result[i].Addresses = clean(result[i].Addresses)
		result[i].NotReadyAddresses = clean(result[i].NotReadyAddresses)
	}
	return result
}
