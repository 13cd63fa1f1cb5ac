package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func createService(t *testing.T, c client.Client, name string, change ...func(*corev1.Service)) *corev1.Service {
	t.Helper()
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": name},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}
	for _, each := range change {
		each(service)
	}
	if err := c.Create(t.Context(), service); err != nil {
		t.Fatal(err)
	}
	return service
}

// inSlices writes the service's endpoints: address, and what it is not.
func inSlices(t *testing.T, c client.Client, service string) string {
	t.Helper()
	list := &discoveryv1.EndpointSliceList{}
	if err := c.List(t.Context(), list, client.InNamespace("default"), client.MatchingLabels{discoveryv1.LabelServiceName: service}); err != nil {
		t.Fatal(err)
	}
	var endpoints []string
	for _, slice := range list.Items {
		if slice.Labels[discoveryv1.LabelManagedBy] != "endpointslice-controller.k8s.io" {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			text := endpoint.Addresses[0]
			if !ptr.Deref(endpoint.Conditions.Ready, true) {
				text += "(not ready)"
			}
			endpoints = append(endpoints, text)
		}
	}
	slices.Sort(endpoints)
	return strings.Join(endpoints, " ")
}

// inEndpoints writes the same of the service's Endpoints.
func inEndpoints(t *testing.T, c client.Client, service string) string {
	t.Helper()
	object := &corev1.Endpoints{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: "default", Name: service}, object); err != nil {
		return err.Error()
	}
	var endpoints []string
	for _, subset := range object.Subsets {
		for _, address := range subset.Addresses {
			endpoints = append(endpoints, address.IP)
		}
		for _, address := range subset.NotReadyAddresses {
			endpoints = append(endpoints, address.IP+"(not ready)")
		}
	}
	slices.Sort(endpoints)
	return strings.Join(endpoints, " ")
}

func setReady(t *testing.T, c client.Client, pod *corev1.Pod, ready corev1.ConditionStatus) {
	t.Helper()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	if err := c.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
}

func TestEndpointsFollowPods(t *testing.T) {
	c := start(t, "endpoints-controller", "endpointslice-controller")
	needs(t, c, &corev1.Service{})
	needs(t, c, &discoveryv1.EndpointSlice{})
	needs(t, c, &corev1.Endpoints{})
	createNode(t, c, "n1")
	web := createService(t, c, "web")
	both := func(want string) {
		t.Helper()
		eventually(t, func() string {
			if slices, old := inSlices(t, c, "web"), inEndpoints(t, c, "web"); slices != want || old != want {
				return fmt.Sprintf("slices have %q, Endpoints %q, want %q", slices, old, want)
			}
			return ""
		})
	}
	both("")
	labeled := func(pod *corev1.Pod) { pod.Labels["app"] = "web" }
	first := runningPod(t, c, "web-1", "n1", "10.244.0.11", labeled)
	runningPod(t, c, "web-2", "n1", "10.244.0.12", labeled)
	runningPod(t, c, "other", "n1", "10.244.0.13")
	both("10.244.0.11 10.244.0.12")
	setReady(t, c, first, corev1.ConditionFalse)
	both("10.244.0.11(not ready) 10.244.0.12")
	setReady(t, c, first, corev1.ConditionTrue)
	both("10.244.0.11 10.244.0.12")

	// A pod that loses its label leaves the service.
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(first), first); err != nil {
		t.Fatal(err)
	}
	first.Labels["app"] = "debug"
	if err := c.Update(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	both("10.244.0.12")

	// A deleted or edited slice is restored.
	list := &discoveryv1.EndpointSliceList{}
	if err := c.List(t.Context(), list, client.InNamespace("default"), client.MatchingLabels{discoveryv1.LabelServiceName: "web"}); err != nil {
		t.Fatal(err)
	}
	for i := range list.Items {
		remove(t, c, &list.Items[i])
	}
	remove(t, c, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}})
	both("10.244.0.12")

	remove(t, c, web)
	eventuallyGone(t, c, &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}})
}

func TestManyPodsBecomeEndpoints(t *testing.T) {
	c := start(t, "endpoints-controller", "endpointslice-controller")
	needs(t, c, &corev1.Service{})
	needs(t, c, &discoveryv1.EndpointSlice{})
	needs(t, c, &corev1.Endpoints{})
	createNode(t, c, "n1")
	createService(t, c, "web", func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone })
	var want []string
	for i := range 150 {
		ip := fmt.Sprintf("10.244.0.%d", i+1)
		want = append(want, ip)
		runningPod(t, c, fmt.Sprint("web-", i), "n1", ip, func(pod *corev1.Pod) { pod.Labels["app"] = "web" })
	}
	slices.Sort(want)
	all := strings.Join(want, " ")
	eventually(t, func() string {
		if got := inSlices(t, c, "web"); got != all {
			return fmt.Sprintf("slices have %q", got)
		}
		if got := inEndpoints(t, c, "web"); got != all {
			return fmt.Sprintf("Endpoints have %q", got)
		}
		return ""
	})
}

func TestEndpointsMadeByHandAreLeftAlone(t *testing.T) {
	c := start(t, "endpoints-controller", "endpointslice-controller")
	needs(t, c, &corev1.Service{})
	needs(t, c, &corev1.Endpoints{})
	byHand := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "outside"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []corev1.EndpointPort{{Port: 443}}}},
	}
	if err := c.Create(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	createService(t, c, "outside", func(s *corev1.Service) { s.Spec.Selector = nil })
	createService(t, c, "web") // when it has Endpoints, the other had its turn
	eventually(t, func() string { return inEndpoints(t, c, "web") })
	if got := inEndpoints(t, c, "outside"); got != "192.0.2.1" {
		t.Errorf("the Endpoints made by hand have %q", got)
	}
}

func TestEndpointsMadeByHandAreMirrored(t *testing.T) {
	c := start(t, "endpoints-controller", "endpointslice-mirroring-controller")
	byHand := &corev1.Endpoints{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "outside"},
		Subsets:    []corev1.EndpointSubset{{Addresses: []corev1.EndpointAddress{{IP: "192.0.2.1"}}, Ports: []corev1.EndpointPort{{Port: 443}}}},
	}
	createService(t, c, "outside", func(s *corev1.Service) { s.Spec.Selector = nil })
	if err := c.Create(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	mirrored := func(want string) {
		t.Helper()
		eventually(t, func() string {
			list := &discoveryv1.EndpointSliceList{}
			if err := c.List(t.Context(), list, client.InNamespace("default"), client.MatchingLabels{discoveryv1.LabelServiceName: "outside"}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, slice := range list.Items {
				for _, endpoint := range slice.Endpoints {
					got = append(got, endpoint.Addresses...)
				}
			}
			if text := strings.Join(got, " "); text != want {
				return fmt.Sprintf("slices have %q, want %q", text, want)
			}
			return ""
		})
	}
	mirrored("192.0.2.1")
	byHand.Subsets[0].Addresses = append(byHand.Subsets[0].Addresses, corev1.EndpointAddress{IP: "192.0.2.2"})
	if err := c.Update(t.Context(), byHand); err != nil {
		t.Fatal(err)
	}
	mirrored("192.0.2.1 192.0.2.2")
	remove(t, c, byHand)
	mirrored("")
}
