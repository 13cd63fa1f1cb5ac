package networking_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/networking"
)

func TestNetworkPolicy(t *testing.T) {
	p := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{
		Egress: []networkingv1.NetworkPolicyEgressRule{{Ports: []networkingv1.NetworkPolicyPort{{Port: ptr.To(intstr.FromInt32(53))}}}},
	}}
	networking.NetworkPolicy.Default(p)
	if len(p.Spec.PolicyTypes) != 2 || *p.Spec.Egress[0].Ports[0].Protocol != "TCP" {
		t.Errorf("%+v", p.Spec)
	}
	kindtest.Errors(t, networking.NetworkPolicy.Validate(p))
	p.Spec.Egress[0].Ports[0].EndPort = ptr.To[int32](50)
	p.Spec.Egress[0].To = []networkingv1.NetworkPolicyPeer{
		{},
		{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16", "10.0.0.0/8", "11.0.0.0/16"}}},
		{IPBlock: &networkingv1.IPBlock{CIDR: "10.0.0.0/8"}, PodSelector: &metav1.LabelSelector{}},
	}
	kindtest.Errors(t, networking.NetworkPolicy.Validate(p),
		"spec.egress[0].ports[0].endPort: Invalid value: 50: must be greater than or equal to `port`",
		"spec.egress[0].to[0]: Required value: must specify a peer",
		"spec.egress[0].to[1].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
		"spec.egress[0].to[1].ipBlock.except[2]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
		"spec.egress[0].to[2]: Forbidden: may not specify both ipBlock and another peer")
}

func TestIngress(t *testing.T) {
	backend := networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}}
	ingress := func(host, path string, kind *networkingv1.PathType) *networkingv1.Ingress {
		return &networkingv1.Ingress{Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
				Paths: []networkingv1.HTTPIngressPath{{Path: path, PathType: kind, Backend: backend}},
			}},
		}}}}
	}
	prefix := ptr.To(networkingv1.PathTypePrefix)
	for _, c := range []struct {
		name    string
		ingress *networkingv1.Ingress
		want    []string
	}{
		{"a plain one is valid", ingress("web.example.com", "/", prefix), nil},
		{"the first part of a host may be any", ingress("*.example.com", "/", prefix), nil},
		{"something is served", &networkingv1.Ingress{}, []string{"spec: Invalid value: null: either `defaultBackend` or `rules` must be specified"}},
		{"a host is no address", ingress("10.0.0.1", "/", prefix), []string{
			`spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address`,
		}},
		{"paths are absolute", ingress("a.b", "x", prefix), []string{`spec.rules[0].http.paths[0].path: Invalid value: "x": must be an absolute path`}},
		{"paths are plain", ingress("a.b", "/a//b/..", prefix), []string{
			`spec.rules[0].http.paths[0].path: Invalid value: "/a//b/..": must not contain '//'`,
			`spec.rules[0].http.paths[0].path: Invalid value: "/a//b/..": cannot end with '/..'`,
		}},
		{"paths have a type", ingress("a.b", "/", nil), []string{"spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified"}},
	} {
		t.Run(c.name, func(t *testing.T) { kindtest.Errors(t, networking.Ingress.Validate(c.ingress), c.want...) })
	}
	classed := ingress("a.b", "/", prefix)
	classed.Annotations = map[string]string{"kubernetes.io/ingress.class": "edge"}
	if w := networking.Ingress.Warnings(classed, nil); len(w) != 1 {
		t.Errorf("%q", w)
	}
	classed.Spec.IngressClassName = ptr.To("edge")
	kindtest.Errors(t, networking.Ingress.ValidateCreate(classed))
	if w := networking.Ingress.Warnings(classed, nil); len(w) != 0 {
		t.Errorf("%q", w)
	}
	classed.Spec.IngressClassName = ptr.To("other")
	kindtest.Errors(t, networking.Ingress.ValidateCreate(classed), "annotations.kubernetes.io/ingress.class: Invalid value: \"edge\": must match `ingressClassName` when both are specified")
	classed.Spec.DefaultBackend = &networkingv1.IngressBackend{Resource: &corev1.TypedLocalObjectReference{APIGroup: ptr.To("")}}
	kindtest.Errors(t, networking.Ingress.Validate(classed), `spec.defaultBackend.resource.apiGroup: Invalid value: "": a lowercase RFC 1123 subdomain`,
		"spec.defaultBackend.resource.kind: Required value", "spec.defaultBackend.resource.name: Required value")
	cells := networking.Ingress.Erase().Cells(ingress("web.example.com", "/", prefix))
	if cells[1] != "<none>" || cells[2] != "web.example.com" || cells[4] != "80" {
		t.Errorf("%v", cells)
	}
}

func TestIngressClass(t *testing.T) {
	c := &networkingv1.IngressClass{Spec: networkingv1.IngressClassSpec{
		Controller: "example.com/ingress", Parameters: &networkingv1.IngressClassParametersReference{Kind: "Config", Name: "a", APIGroup: ptr.To("example.com")},
	}}
	networking.IngressClass.Default(c)
	kindtest.Errors(t, networking.IngressClass.Validate(c))
	if cells := networking.IngressClass.Erase().Cells(c); cells[2] != "Config.example.com/a" {
		t.Errorf("%v", cells)
	}
	c.Name, c.Annotations = "edge", map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	if cells := networking.IngressClass.Erase().Cells(c); cells[0] != "edge (default)" {
		t.Errorf("%v", cells)
	}
	c.Spec.Parameters.Namespace = ptr.To("x")
	kindtest.Errors(t, networking.IngressClass.Validate(c), "spec.parameters.namespace: Forbidden: ")
}
