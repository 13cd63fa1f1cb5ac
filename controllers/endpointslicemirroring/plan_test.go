package endpointslicemirroring

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/utils/ptr"
)

func byHand(subsets ...corev1.EndpointSubset) *corev1.Endpoints {
	return &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "team", Name: "db", UID: "uid-db", Labels: map[string]string{"app": "db"},
			Annotations: map[string]string{corev1.LastAppliedConfigAnnotation: "{}", corev1.EndpointsLastChangeTriggerTime: "2026-11-21T10:00:00Z", "note": "x"},
		},
		Subsets: subsets,
	}
}

func subset(port int32, ready []string, notReady ...string) corev1.EndpointSubset {
	addresses := func(ips []string) []corev1.EndpointAddress {
		var list []corev1.EndpointAddress
		for _, ip := range ips {
			list = append(list, corev1.EndpointAddress{IP: ip})
		}
		return list
	}
	return corev1.EndpointSubset{Addresses: addresses(ready), NotReadyAddresses: addresses(notReady), Ports: []corev1.EndpointPort{{Port: port, Protocol: corev1.ProtocolTCP}}}
}

func show(list []*discoveryv1.EndpointSlice) string {
	text := ""
	for _, slice := range list {
		var ports []string
		for _, p := range slice.Ports {
			ports = append(ports, fmt.Sprint(*p.Port))
		}
		text += fmt.Sprintf("%s:%s", slice.AddressType, strings.Join(ports, ","))
		for _, endpoint := range slice.Endpoints {
			text += " " + endpoint.Addresses[0]
			if !ptr.Deref(endpoint.Conditions.Ready, true) {
				text += "(not ready)"
			}
		}
		text += "; "
	}
	return text
}

// applied are the slices of a first plan, as the server has them afterwards.
func applied(endpoints *corev1.Endpoints) []*discoveryv1.EndpointSlice {
	list := planSlices(endpoints, nil).create
	for i := range list {
		list[i].Name = fmt.Sprint("db-", i)
	}
	return list
}

func TestPlanSlices(t *testing.T) {
	old := byHand(subset(80, []string{"192.0.2.1", "192.0.2.2"}), subset(443, []string{"192.0.2.3"}))
	for _, c := range []struct {
		name                   string
		endpoints              *corev1.Endpoints
		existing               []*discoveryv1.EndpointSlice
		create, update, delete string
	}{
		{"each subset becomes a slice", old, nil, "IPv4:80 192.0.2.1 192.0.2.2; IPv4:443 192.0.2.3; ", "", ""},
		{"each family too", byHand(subset(80, []string{"192.0.2.1", "2001:db8::1"}, "192.0.2.2")), nil, "IPv4:80 192.0.2.1 192.0.2.2(not ready); IPv6:80 2001:db8::1; ", "", ""},
		{"what is right is left alone", old, applied(old), "", "", ""},
		{"a changed subset updates its slice", byHand(subset(80, []string{"192.0.2.1"}), subset(443, []string{"192.0.2.3"})), applied(old), "", "IPv4:80 192.0.2.1; ", ""},
		{"a subset that is gone deletes its slice", byHand(subset(80, []string{"192.0.2.1", "192.0.2.2"})), applied(old), "", "", "IPv4:443 192.0.2.3; "},
		{"a changed port makes another slice", byHand(subset(81, []string{"192.0.2.1", "192.0.2.2"}), subset(443, []string{"192.0.2.3"})), applied(old), "IPv4:81 192.0.2.1 192.0.2.2; ", "", "IPv4:80 192.0.2.1 192.0.2.2; "},
		{"a port of two subsets is in one slice, with each address once", byHand(subset(80, []string{"192.0.2.1", "192.0.2.2"}), subset(80, []string{"192.0.2.2", "192.0.2.3"})), nil, "IPv4:80 192.0.2.1 192.0.2.2 192.0.2.3; ", "", ""},
		{"what one subset says is not ready is not", byHand(subset(80, []string{"192.0.2.1"}), subset(80, []string{"192.0.2.2"}, "192.0.2.1")), nil, "IPv4:80 192.0.2.2 192.0.2.1(not ready); ", "", ""},
		{"ports of the same addresses share a slice", byHand(subset(80, []string{"192.0.2.1"}), subset(443, []string{"192.0.2.1"})), nil, "IPv4:80,443 192.0.2.1; ", "", ""},
		{"subsets without ports are mirrored", byHand(corev1.EndpointSubset{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}}), nil, "IPv4: 192.0.2.1; ", "", ""},
		{"no addresses, no slices", byHand(), applied(old), "", "", "IPv4:80 192.0.2.1 192.0.2.2; IPv4:443 192.0.2.3; "},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := planSlices(c.endpoints, c.existing)
			for what, pair := range map[string][2]string{"create": {show(p.create), c.create}, "update": {show(p.update), c.update}, "delete": {show(p.delete), c.delete}} {
				if pair[0] != pair[1] {
					t.Errorf("%s %q, want %q", what, pair[0], pair[1])
				}
			}
		})
	}
}

func TestSlicesCarryWhatTheEndpointsSay(t *testing.T) {
	slice := planSlices(byHand(subset(80, []string{"192.0.2.1"})), nil).create[0]
	if slice.GenerateName != "db-" || slice.Labels["app"] != "db" || slice.Labels[discoveryv1.LabelServiceName] != "db" || slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy {
		t.Errorf("the slice is named %s, labeled %v", slice.GenerateName, slice.Labels)
	}
	if len(slice.Annotations) != 1 || slice.Annotations["note"] != "x" || !metav1.IsControlledBy(slice, byHand()) {
		t.Errorf("annotations are %v, owners %v", slice.Annotations, slice.OwnerReferences)
	}
}

func TestAddressesThatCannotBeMirroredAreCounted(t *testing.T) {
	many := make([]string, 1003)
	for i := range many {
		many[i] = fmt.Sprintf("10.0.%d.%d", i/250, i%250)
	}
	p := planSlices(byHand(subset(80, append([]string{"nonsense"}, many[:600]...)), subset(80, many[600:])), nil)
	if p.invalid != 1 || p.excess != 3 || len(p.create[0].Endpoints) != 1000 {
		t.Errorf("%d invalid, %d too many, %d mirrored", p.invalid, p.excess, len(p.create[0].Endpoints))
	}
}

func TestIsMirrored(t *testing.T) {
	service := &corev1.Service{}
	with := func(change func(*corev1.Endpoints)) *corev1.Endpoints {
		endpoints := byHand()
		change(endpoints)
		return endpoints
	}
	for _, c := range []struct {
		name      string
		endpoints *corev1.Endpoints
		service   *corev1.Service
		want      bool
	}{
		{"made by hand", byHand(), service, true},
		{"without a service", byHand(), nil, false},
		{"gone", nil, service, false},
		{"of a service with a selector", byHand(), &corev1.Service{Spec: corev1.ServiceSpec{Selector: map[string]string{"app": "db"}}}, false},
		{"asked to be left out", with(func(e *corev1.Endpoints) { e.Labels[discoveryv1.LabelSkipMirror] = "true" }), service, false},
		{"a lock", with(func(e *corev1.Endpoints) { e.Annotations[resourcelock.LeaderElectionRecordAnnotationKey] = "{}" }), service, false},
	} {
		if got := isMirrored(c.endpoints, c.service); got != c.want {
			t.Errorf("Endpoints %s are mirrored: %v, want %v", c.name, got, c.want)
		}
	}
}
