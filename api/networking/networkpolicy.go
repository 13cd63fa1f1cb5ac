package networking

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// NetworkPolicy says what may reach some pods and what they may reach.
var NetworkPolicy = api.Of[networkingv1.NetworkPolicy]{
	Group: networkingv1.GroupName, Version: "v1", Kind: "NetworkPolicy", Resource: "networkpolicies",
	ShortNames: []string{"netpol"},
	Generation: true,

	Default:  defaultNetworkPolicy,
	Validate: validateNetworkPolicy,

	Columns: []api.Column[networkingv1.NetworkPolicy]{
		print.Name[networkingv1.NetworkPolicy](),
		{
			Name: "Pod-Selector", Description: networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"],
			Value: func(p *networkingv1.NetworkPolicy) any { return metav1.FormatLabelSelector(&p.Spec.PodSelector) },
		},
		print.Age[networkingv1.NetworkPolicy](),
	},
}

func defaultNetworkPolicy(p *networkingv1.NetworkPolicy) {
	for i := range p.Spec.Ingress {
		defaultPorts(p.Spec.Ingress[i].Ports)
	}
	for i := range p.Spec.Egress {
		defaultPorts(p.Spec.Egress[i].Ports)
	}
	if len(p.Spec.PolicyTypes) > 0 {
		return
	}
	// A policy is about what comes in, and about what goes out if it says so.
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(p.Spec.Egress) > 0 {
		p.Spec.PolicyTypes = append(p.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

func defaultPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		if ports[i].Protocol == nil {
			ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
		}
	}
}

func validateNetworkPolicy(p *networkingv1.NetworkPolicy) field.ErrorList {
	var e validate.Errors
	spec, fld := &p.Spec, field.NewPath("spec")
	checkSelector(&e, &spec.PodSelector, fld.Child("podSelector"))
	for i, rule := range spec.Ingress {
		at := fld.Child("ingress").Index(i)
		checkPolicyPorts(&e, rule.Ports, at.Child("ports"))
		checkPeers(&e, rule.From, at.Child("from"))
	}
	for i, rule := range spec.Egress {
		at := fld.Child("egress").Index(i)
		checkPolicyPorts(&e, rule.Ports, at.Child("ports"))
		checkPeers(&e, rule.To, at.Child("to"))
	}
	if len(spec.PolicyTypes) > 2 {
		e.Invalid(fld.Child("policyTypes"), spec.PolicyTypes, "may not specify more than two policyTypes")
		return e.List()
	}
	for i, t := range spec.PolicyTypes {
		validate.Enum(&e, fld.Child("policyTypes").Index(i), t, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)
	}
	return e.List()
}

func checkSelector(e *validate.Errors, s *metav1.LabelSelector, fld *field.Path) {
	e.Add(metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, fld))
}

func checkPolicyPorts(e *validate.Errors, ports []networkingv1.NetworkPolicyPort, fld *field.Path) {
	for i, port := range ports {
		p := fld.Index(i)
		if port.Protocol != nil {
			validate.Enum(e, p.Child("protocol"), *port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)
		}
		if port.Port != nil {
			e.PortNumberOrName(p.Child("port"), *port.Port)
		}
		if port.EndPort == nil {
			continue
		}
		switch end, at := *port.EndPort, p.Child("endPort"); {
		case port.Port == nil:
			e.Invalid(at, end, "may not be specified when `port` is not specified")
		case port.Port.Type == intstr.String:
			e.Invalid(at, end, "may not be specified when `port` is non-numeric")
		default:
			if end < port.Port.IntVal {
				e.Invalid(at, end, "must be greater than or equal to `port`")
			}
			e.PortNumber(at, end)
		}
	}
}

func checkPeers(e *validate.Errors, peers []networkingv1.NetworkPolicyPeer, fld *field.Path) {
	for i, peer := range peers {
		p, n := fld.Index(i), 0
		if peer.PodSelector != nil {
			n++
			checkSelector(e, peer.PodSelector, p.Child("podSelector"))
		}
		if peer.NamespaceSelector != nil {
			n++
			checkSelector(e, peer.NamespaceSelector, p.Child("namespaceSelector"))
		}
		if peer.IPBlock != nil {
			n++
			checkIPBlock(e, peer.IPBlock, p.Child("ipBlock"))
		}
		switch {
		case n == 0:
			e.Required(p, "must specify a peer")
		case n > 1 && peer.IPBlock != nil:
			e.Forbidden(p, "may not specify both ipBlock and another peer")
		}
	}
}

func checkIPBlock(e *validate.Errors, b *networkingv1.IPBlock, fld *field.Path) {
	if b.CIDR == "" {
		e.Required(fld.Child("cidr"), "")
		return
	}
	e.Add(validation.IsValidCIDRForLegacyField(fld.Child("cidr"), b.CIDR, true, nil))
	_, all, err := netutils.ParseCIDRSloppy(b.CIDR)
	if err != nil {
		return // it is told already
	}
	size, _ := all.Mask.Size()
	for i, text := range b.Except {
		p := fld.Child("except").Index(i)
		e.Add(validation.IsValidCIDRForLegacyField(p, text, true, nil))
		_, part, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			continue // it is told already
		}
		if partSize, _ := part.Mask.Size(); !all.Contains(part.IP) || partSize <= size {
			e.Invalid(p, text, "must be a strict subset of `cidr`")
		}
	}
}
