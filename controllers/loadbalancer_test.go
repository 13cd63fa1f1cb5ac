package controllers_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers"
)

func createBalanced(t *testing.T, c client.Client, name string, change ...func(*corev1.Service)) *corev1.Service {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	for _, f := range change {
		f(s)
	}
	if err := c.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

// expectIngress waits until the service has these load-balancer addresses.
func expectIngress(t *testing.T, c client.Client, s *corev1.Service, want ...string) {
	t.Helper()
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err.Error()
		}
		got := []string{}
		for _, in := range s.Status.LoadBalancer.Ingress {
			got = append(got, in.IP)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Sprintf("service %s has %v, want %v", s.Name, got, want)
		}
		return ""
	})
}

func TestServicesGetAddressesOfThePool(t *testing.T) {
	c := startWith(t, controllers.Config{Controllers: []string{"service-lb-controller"}, LoadBalancerPool: "192.0.2.1-192.0.2.2"})
	a := createBalanced(t, c, "a")
	expectIngress(t, c, a, "192.0.2.1")
	other := createBalanced(t, c, "other", func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr.To("example.com/other") })
	b := createBalanced(t, c, "b")
	expectIngress(t, c, b, "192.0.2.2")
	expectIngress(t, c, other)
	late := createBalanced(t, c, "late")
	eventually(t, func() string {
		var list eventsv1.EventList
		if err := c.List(t.Context(), &list, client.InNamespace("default")); err != nil {
			return err.Error()
		}
		for _, e := range list.Items {
			if e.Reason == "SyncLoadBalancerFailed" && e.Regarding.Name == late.Name {
				return ""
			}
		}
		return "no event says that the pool is empty"
	})
	a.Spec.Type = corev1.ServiceTypeClusterIP
	if err := c.Update(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	expectIngress(t, c, a)
	late.Labels = map[string]string{"try": "again"}
	if err := c.Update(t.Context(), late); err != nil {
		t.Fatal(err)
	}
	expectIngress(t, c, late, "192.0.2.1")
}

func TestServicesGetAddressesOfNodes(t *testing.T) {
	c := start(t, "service-lb-controller")
	s := createBalanced(t, c, "web")
	second := createBalanced(t, c, "xweb")
	n := createNode(t, c, "n")
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(n), n); err != nil {
			return err.Error()
		}
		n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}}
		if err := c.Status().Update(t.Context(), n); err != nil {
			return err.Error()
		}
		return ""
	})
	expectIngress(t, c, s, "10.0.0.7")
	expectIngress(t, c, second) // its port is taken
	if mode := s.Status.LoadBalancer.Ingress[0].IPMode; mode == nil || *mode != corev1.LoadBalancerIPModeProxy {
		t.Errorf("ipMode %v, want Proxy", mode)
	}
	if err := c.Delete(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	expectIngress(t, c, s)
}
