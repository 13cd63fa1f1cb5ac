package controllers_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestServiceCIDRsGiveAddressesAndStayWhileUsed(t *testing.T) {
	c := start(t, "service-cidr-controller")
	standard := &networkingv1.ServiceCIDR{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "kubernetes"}, standard); err != nil || !meta.IsStatusConditionTrue(standard.Status.Conditions, "Ready") {
		t.Errorf("the default range: %v, %+v", err, standard.Status)
	}
	further := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "further"}}
	further.Spec.CIDRs = []string{"10.222.0.0/28"}
	if err := c.Create(t.Context(), further); err != nil {
		t.Fatal(err)
	}
	web := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	web.Spec.Ports = []corev1.ServicePort{{Port: 80}}
	web.Spec.ClusterIP = "10.222.0.5"
	eventually(t, func() string { // once it is ready
		if err := c.Create(t.Context(), web.DeepCopy()); err != nil {
			return err.Error()
		}
		return ""
	})
	address := &networkingv1.IPAddress{}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "10.222.0.5"}, address); err != nil {
		t.Fatal(err)
	}
	if r := address.Spec.ParentRef; r == nil || r.Resource != "services" || r.Namespace != "default" || r.Name != "web" ||
		address.Labels[networkingv1.LabelIPAddressFamily] != "IPv4" || address.Labels[networkingv1.LabelManagedBy] != "ipallocator.k8s.io" {
		t.Errorf("address %+v of %+v", address.ObjectMeta, r)
	}
	if err := c.Delete(t.Context(), further); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(further), further); err != nil {
			return err.Error()
		}
		if ready := meta.FindStatusCondition(further.Status.Conditions, "Ready"); ready == nil || ready.Status != metav1.ConditionFalse || ready.Reason != "Terminating" {
			return "it does not say that it is in use"
		}
		return ""
	})
	other := web.DeepCopy()
	other.Name, other.Spec.ClusterIP = "other", "10.222.0.6"
	if err := c.Create(t.Context(), other); err == nil {
		t.Error("an address of a range that goes was given")
	}
	if err := c.Delete(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(address), address); !apierrors.IsNotFound(err) {
			return "the service's address is still there"
		}
		return ""
	})
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(further), further); !apierrors.IsNotFound(err) {
			return "the range is still there"
		}
		return ""
	})
}

func TestAServiceKeepsItsAddressWithoutItsIPAddress(t *testing.T) {
	c := start(t, "service-cidr-controller")
	create := func(name, ip string) (*corev1.Service, error) {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		s.Spec.Ports = []corev1.ServicePort{{Port: 80}}
		s.Spec.ClusterIP = ip
		return s, c.Create(t.Context(), s)
	}
	web, err := create("web", "")
	if err != nil {
		t.Fatal(err)
	}
	address := &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: web.Spec.ClusterIP}}
	if err := c.Delete(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	if _, err := create("thief", web.Spec.ClusterIP); err == nil {
		t.Error("two services have one address")
	}
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(address), address); err != nil {
			return err.Error()
		}
		if r := address.Spec.ParentRef; r == nil || r.Name != "web" {
			return "the address is another's"
		}
		return ""
	})
	if err := c.Delete(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	if _, err := create("heir", web.Spec.ClusterIP); err != nil {
		t.Errorf("the address of a service that is gone: %v", err)
	}
}
