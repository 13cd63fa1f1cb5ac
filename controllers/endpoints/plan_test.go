package endpoints

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.ServiceSpec{
			ClusterIP:  "10.96.0.7",
			IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Selector:   map[string]string{"app": "web"},
			Ports:      []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, c := range change {
		c(s)
	}
	return s
}

func pod(name, ip string, ready bool, change ...func(*corev1.Pod)) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID("uid-" + name)},
		Spec:       corev1.PodSpec{NodeName: "n1"},
		Status: corev1.PodStatus{
			Phase:      corev1.PodRunning,
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}},
		},
	}
	if ip != "" {
		p.Status.PodIP = ip
		p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	for _, c := range change {
		c(p)
	}
	return p
}

// show writes subsets as "ready|notReady on ports".
func show(subsets []corev1.EndpointSubset) string {
	var parts []string
	for _, subset := range subsets {
		list := func(addresses []corev1.EndpointAddress) string {
			var ips []string
			for _, address := range addresses {
				ips = append(ips, address.IP)
			}
			return strings.Join(ips, ",")
		}
		var ports []string
		for _, port := range subset.Ports {
			ports = append(ports, fmt.Sprintf("%s:%d/%s", port.Name, port.Port, port.Protocol))
		}
		parts = append(parts, list(subset.Addresses)+"|"+list(subset.NotReadyAddresses)+" on "+strings.Join(ports, ","))
	}
	return strings.Join(parts, "; ")
}

func TestSubsets(t *testing.T) {
	named := func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = intstr.FromString("web") }
	withPort := func(number int32) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Spec.Containers = []corev1.Container{{Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: number, Protocol: corev1.ProtocolTCP}}}}
		}
	}
	deleted := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
	for _, c := range []struct {
		name    string
		service *corev1.Service
		pods    []*corev1.Pod
		want    string
	}{
		{"ready and other pods are told apart and sorted", service(), []*corev1.Pod{pod("b", "10.0.0.2", true), pod("c", "10.0.0.3", false), pod("a", "10.0.0.1", true)}, "10.0.0.1,10.0.0.2|10.0.0.3 on http:8080/TCP"},
		{"publishNotReadyAddresses makes all of them ready", service(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true }), []*corev1.Pod{pod("a", "10.0.0.1", false), pod("b", "10.0.0.2", true, deleted)}, "10.0.0.1,10.0.0.2| on http:8080/TCP"},
		{"a pod that is being deleted is out", service(), []*corev1.Pod{pod("a", "10.0.0.1", true, deleted)}, ""},
		{"a pod without an address is out", service(), []*corev1.Pod{pod("a", "", true)}, ""},
		{"a pod that has ended is out", service(), []*corev1.Pod{pod("a", "10.0.0.1", true, func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })}, ""},
		{"pods with different numbers for a named port are apart", service(named), []*corev1.Pod{pod("a", "10.0.0.1", true, withPort(81)), pod("b", "10.0.0.2", true, withPort(82)), pod("c", "10.0.0.3", true, withPort(81))}, "10.0.0.1,10.0.0.3| on http:81/TCP; 10.0.0.2| on http:82/TCP"},
		{"a pod without the named port is out", service(named), []*corev1.Pod{pod("a", "10.0.0.1", true)}, ""},
		{"a headless service needs no ports", service(func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.Ports = corev1.ClusterIPNone, nil }), []*corev1.Pod{pod("a", "10.0.0.1", true)}, "10.0.0.1| on "},
		{"several ports are sorted by name", service(func(s *corev1.Service) {
			s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "dns", Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromInt32(53)})
		}), []*corev1.Pod{pod("a", "10.0.0.1", true)}, "10.0.0.1| on dns:53/UDP,http:8080/TCP"},
		{"the address is of the service's first family", service(func(s *corev1.Service) {
			s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
		}), []*corev1.Pod{pod("a", "10.0.0.1", true, func(p *corev1.Pod) { p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: "fd00::1"}) }), pod("b", "10.0.0.2", true)}, "fd00::1| on http:8080/TCP"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(subsets(c.service, c.pods)); got != c.want {
				t.Errorf("subsets are %q, want %q", got, c.want)
			}
		})
	}
}

func TestAddressNamesPodNodeAndHost(t *testing.T) {
	p := pod("a", "10.0.0.1", true, func(p *corev1.Pod) { p.Spec.Hostname, p.Spec.Subdomain = "db-0", "web" })
	address, ok := addressOf(service(), p)
	if !ok || address.Hostname != "db-0" || *address.NodeName != "n1" || address.TargetRef.UID != "uid-a" || address.TargetRef.Kind != "Pod" {
		t.Errorf("address is %+v", address)
	}
}

func TestPlan(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	pods := []*corev1.Pod{pod("a", "10.0.0.1", true)}
	first := plan(service(), pods, nil, at)
	if first == nil || first.Name != "web" || first.Namespace != "team" {
		t.Fatalf("the first plan is %+v", first)
	}
	if got := first.Annotations[corev1.EndpointsLastChangeTriggerTime]; got != "2026-01-02T03:04:05.000006Z" {
		t.Errorf("the trigger time is %q", got)
	}
	if first.Labels["app"] != "web" || first.Labels[managedByLabel] != Name {
		t.Errorf("labels are %v", first.Labels)
	}
	first.ResourceVersion = "5"
	for _, c := range []struct {
		name    string
		service *corev1.Service
		pods    []*corev1.Pod
		found   func(*corev1.Endpoints)
		write   bool
	}{
		{"nothing changed", service(), pods, nil, false},
		{"a pod's resourceVersion in the reference is no change", service(), pods, func(e *corev1.Endpoints) { e.Subsets[0].Addresses[0].TargetRef.ResourceVersion = "9" }, false},
		{"a pod became unready", service(), []*corev1.Pod{pod("a", "10.0.0.1", false)}, nil, true},
		{"the last pod went", service(), nil, nil, true},
		{"the service's labels changed", service(func(s *corev1.Service) { s.Labels = nil }), pods, nil, true},
		{"the service is headless now", service(func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }), pods, nil, true},
		{"somebody edited an address", service(), pods, func(e *corev1.Endpoints) { e.Subsets[0].Addresses[0].IP = "1.2.3.4" }, true},
		{"a wrong capacity annotation is removed", service(), pods, func(e *corev1.Endpoints) { e.Annotations[corev1.EndpointsOverCapacity] = truncated }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			found := first.DeepCopy()
			if c.found != nil {
				c.found(found)
			}
			got := plan(c.service, c.pods, found, time.Time{})
			if (got != nil) != c.write {
				t.Fatalf("plan is %+v, want a write: %v", got, c.write)
			}
			if got == nil {
				return
			}
			if got.ResourceVersion != "5" {
				t.Error("the update does not ask for the version that was read")
			}
			if _, set := got.Annotations[corev1.EndpointsLastChangeTriggerTime]; set {
				t.Error("an unknown trigger time keeps the old annotation")
			}
			_, headless := got.Labels[corev1.IsHeadlessService]
			if headless != (c.service.Spec.ClusterIP == corev1.ClusterIPNone) {
				t.Errorf("labels are %v", got.Labels)
			}
		})
	}
}

func TestTruncate(t *testing.T) {
	many := func(n int) []corev1.EndpointAddress { return make([]corev1.EndpointAddress, n) }
	type counts struct{ ready, notReady int }
	for _, c := range []struct {
		name string
		in   []counts
		want []counts
		over bool
	}{
		{"a thousand addresses fit", []counts{{600, 400}}, []counts{{600, 400}}, false},
		{"unready ones are cut first", []counts{{900, 400}}, []counts{{900, 100}}, true},
		{"too many ready ones leave no unready", []counts{{1200, 10}}, []counts{{1000, 0}}, true},
		{"exactly a thousand ready ones leave no unready", []counts{{1000, 10}}, []counts{{1000, 0}}, true},
		{"subsets share what there is", []counts{{1500, 0}, {500, 5}}, []counts{{750, 0}, {250, 0}}, true},
		{"shares are rounded up and the last gets less", []counts{{1000, 0}, {1000, 0}, {1000, 0}}, []counts{{334, 0}, {334, 0}, {332, 0}}, true},
		{"room for unready ones is shared as well", []counts{{400, 300}, {400, 100}}, []counts{{400, 150}, {400, 50}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var subsets []corev1.EndpointSubset
			for _, in := range c.in {
				subsets = append(subsets, corev1.EndpointSubset{Addresses: many(in.ready), NotReadyAddresses: many(in.notReady)})
			}
			if over := truncate(subsets); over != c.over {
				t.Errorf("over capacity: %v, want %v", over, c.over)
			}
			for i, want := range c.want {
				if got := (counts{len(subsets[i].Addresses), len(subsets[i].NotReadyAddresses)}); got != want {
					t.Errorf("subset %d has %+v, want %+v", i, got, want)
				}
			}
		})
	}
}

func TestOverCapacityIsAnnotatedAndStable(t *testing.T) {
	var pods []*corev1.Pod
	for i := range 1001 {
		pods = append(pods, pod(fmt.Sprint("p", i), fmt.Sprintf("10.0.%d.%d", i/250, i%250+1), true))
	}
	first := plan(service(), pods, nil, time.Time{})
	if first.Annotations[corev1.EndpointsOverCapacity] != truncated || len(first.Subsets[0].Addresses) != maxCapacity {
		t.Fatalf("%d addresses, annotations %v", len(first.Subsets[0].Addresses), first.Annotations)
	}
	if again := plan(service(), pods, first, time.Time{}); again != nil {
		t.Error("truncated Endpoints are written again without a change")
	}
}
