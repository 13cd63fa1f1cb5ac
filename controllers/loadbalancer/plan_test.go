package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/internal/addrpool"
)

const both, first, second = "both", "IPv4", "IPv6"

func balanced(name, families string, change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", UID: types.UID(name)}}
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.Ports = []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}
	if families != second {
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPv4Protocol)
	}
	if families != first {
		s.Spec.IPFamilies = append(s.Spec.IPFamilies, corev1.IPv6Protocol)
	}
	for _, f := range change {
		f(s)
	}
	return s
}

func has(ips ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		for _, ip := range ips {
			s.Status.LoadBalancer.Ingress = append(s.Status.LoadBalancer.Ingress, corev1.LoadBalancerIngress{IP: ip})
		}
	}
}

func asks(ip string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = ip }
}

func addresses(in []corev1.LoadBalancerIngress) string {
	var out []string
	for _, i := range in {
		out = append(out, i.IP)
	}
	return strings.Join(out, " ")
}

func TestAddressesOfAPool(t *testing.T) {
	const four, six = "192.0.2.1-192.0.2.3", "2001:db8::1-2001:db8::2"
	for _, c := range []struct {
		name, pool, taken string
		svc               *corev1.Service
		want, err         string
	}{
		{"the first free one", four, "192.0.2.1", balanced("a", first), "192.0.2.2", ""},
		{"one of each family", four + "," + six, "", balanced("a", both), "192.0.2.1 2001:db8::1", ""},
		{"a pool of one family serves a service of both", six, "", balanced("a", both), "2001:db8::1", ""},
		{"what it has stays", four, "192.0.2.3=default/a", balanced("a", first, has("192.0.2.3")), "192.0.2.3", ""},
		{"what it has and another has too does not", four, "192.0.2.1", balanced("a", first, has("192.0.2.1")), "192.0.2.2", ""},
		{"what left the pool does not", four, "", balanced("a", first, has("198.51.100.1")), "192.0.2.1", ""},
		{"what it asks for", four, "", balanced("a", first, asks("192.0.2.3"), has("192.0.2.1")), "192.0.2.3", ""},
		{"what it asks for and another has", four, "192.0.2.3", balanced("a", first, asks("192.0.2.3")), "", "192.0.2.3 is not free in the pool"},
		{"what it asks for and is elsewhere", four, "", balanced("a", both, asks("198.51.100.1")), "", "198.51.100.1 is not free in the pool"},
		{"none is left", four, "192.0.2.1 192.0.2.2 192.0.2.3", balanced("a", first), "", "has no free address"},
		{"none of its family", four, "", balanced("a", second), "", "has no free address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			pool, err := addrpool.Parse(c.pool)
			if err != nil {
				t.Fatal(err)
			}
			taken := claims{}
			for _, s := range strings.Fields(c.taken) {
				ip, owner, ok := strings.Cut(s, "=")
				if !ok {
					owner = "default/other"
				}
				taken[netip.MustParseAddr(ip)] = owner
			}
			got, err := planPool(c.svc, "default/a", pool, taken)
			if (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Fatalf("%v, want %q", err, c.err)
			}
			if addresses(got) != c.want {
				t.Errorf("%s, want %s", addresses(got), c.want)
			}
			for _, in := range got {
				if *in.IPMode != corev1.LoadBalancerIPModeVIP {
					t.Errorf("mode %s", *in.IPMode)
				}
			}
		})
	}
}

func node(name string, ready corev1.ConditionStatus, addrs ...corev1.NodeAddress) corev1.Node {
	n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	n.Status.Addresses = addrs
	return n
}

func TestAddressesOfNodes(t *testing.T) {
	in := func(ip string) corev1.NodeAddress {
		return corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip}
	}
	labelled := node("labelled", corev1.ConditionTrue, in("10.0.0.4"))
	labelled.Labels = map[string]string{excluded: ""}
	nodes := []corev1.Node{
		node("b", corev1.ConditionTrue, in("10.0.0.2"), in("fd00::2"), corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "203.0.113.2"}),
		node("a", corev1.ConditionTrue, in("10.0.0.1")),
		node("silent", corev1.ConditionUnknown, in("10.0.0.3")),
		labelled,
	}
	slice := discoveryv1.EndpointSlice{Endpoints: []discoveryv1.Endpoint{
		{NodeName: ptr.To("a")}, {NodeName: ptr.To("b"), Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
	}}
	local := func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	}
	for _, c := range []struct {
		name string
		svc  *corev1.Service
		want string
	}{
		{"ready nodes, external addresses first", balanced("a", first), "10.0.0.1 203.0.113.2"},
		{"both families", balanced("a", both), "10.0.0.1 203.0.113.2 fd00::2"},
		{"policy Local: nodes with a ready endpoint", balanced("a", first, local), "10.0.0.1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := addresses(planNodes(c.svc, nodes, []discoveryv1.EndpointSlice{slice})); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

func TestOlderServicesKeepThePortsOfNodes(t *testing.T) {
	at := func(seconds int64) func(*corev1.Service) {
		return func(s *corev1.Service) { s.CreationTimestamp = metav1.NewTime(time.Unix(seconds, 0)) }
	}
	udp := func(s *corev1.Service) { s.Spec.Ports[0].Protocol = corev1.ProtocolUDP }
	class := func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr.To("example.com/other") }
	for i, c := range []struct {
		other *corev1.Service
		want  bool
	}{
		{balanced("other", first, at(5)), true},
		{balanced("other", first, at(15)), false},
		{balanced("other", first, at(5), udp), false},
		{balanced("other", first, at(5), class), false},
		{balanced("b", first, at(10)), true},
		{balanced("d", first, at(10)), false},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			svc := balanced("c", first, at(10))
			if err := conflict(svc, []corev1.Service{*svc, *c.other}); (err != nil) != c.want {
				t.Errorf("%v", err)
			}
		})
	}
}
