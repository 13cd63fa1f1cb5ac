package networking

import (
	"fmt"
	"slices"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	// classAnnotation is how a class was named before spec.ingressClassName.
	classAnnotation = "kubernetes.io/ingress.class"
	shownHosts      = 3 // in a table cell
)

// Ingress routes requests from outside by host and path.
var Ingress = api.Of[networkingv1.Ingress]{
	Group: networkingv1.GroupName, Version: "v1", Kind: "Ingress", Resource: "ingresses",
	ShortNames: []string{"ing"},
	Generation: true,

	Validate:       validateIngress,
	ValidateCreate: validateIngressCreate,
	Warnings: func(i, before *networkingv1.Ingress) []string {
		if _, old := i.Annotations[classAnnotation]; old && before == nil && i.Spec.IngressClassName == nil {
			return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
		}
		return nil
	},

	Status: &api.Status[networkingv1.Ingress]{Validate: validateIngressStatus},

	Columns: []api.Column[networkingv1.Ingress]{
		print.Name[networkingv1.Ingress](),
		{
			Name: "Class", Description: "The name of the IngressClass resource that should be used for additional configuration",
			Value: func(i *networkingv1.Ingress) any {
				if i.Spec.IngressClassName != nil {
					return *i.Spec.IngressClassName
				}
				return print.OrNone(i.Annotations[classAnnotation])
			},
		},
		{
			Name: "Hosts", Description: "Hosts that incoming requests are matched against before the ingress rule",
			Value: func(i *networkingv1.Ingress) any { return hosts(i.Spec.Rules) },
		},
		{
			Name: "Address", Description: "Address is a list containing ingress points for the load-balancer",
			Value: func(i *networkingv1.Ingress) any { return ingressAddresses(i.Status.LoadBalancer.Ingress) },
		},
		{
			Name: "Ports", Description: "Ports of TLS configurations that open",
			Value: func(i *networkingv1.Ingress) any {
				if len(i.Spec.TLS) > 0 {
					return "80, 443"
				}
				return "80"
			},
		},
		print.Age[networkingv1.Ingress](),
	},
}

func hosts(rules []networkingv1.IngressRule) string {
	var list []string
	for _, r := range rules {
		if r.Host != "" {
			list = append(list, r.Host)
		}
	}
	switch n := len(list); {
	case n == 0:
		return "*"
	case n > shownHosts:
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shownHosts], ","), n-shownHosts)
	}
	return strings.Join(list, ",")
}

func ingressAddresses(points []networkingv1.IngressLoadBalancerIngress) string {
	var list []string
	for _, in := range points {
		if in.IP != "" {
			list = append(list, in.IP)
		} else if in.Hostname != "" {
			list = append(list, in.Hostname)
		}
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ",")
}

func validateIngress(i *networkingv1.Ingress) field.ErrorList {
	var e validate.Errors
	spec, fld := &i.Spec, field.NewPath("spec")
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		e.Invalid(fld, spec.Rules, "either `defaultBackend` or `rules` must be specified")
	}
	if spec.DefaultBackend != nil {
		checkBackend(&e, spec.DefaultBackend, fld.Child("defaultBackend"))
	}
	for n := range spec.Rules {
		checkRule(&e, &spec.Rules[n], fld.Child("rules").Index(n))
	}
	for n, tls := range spec.TLS {
		p := fld.Child("tls").Index(n)
		for k, host := range tls.Hosts {
			checkHost(&e, host, p.Child("hosts").Index(k))
		}
		if tls.SecretName != "" {
			e.Name(p.Child("secretName"), tls.SecretName, apivalidation.NameIsDNSSubdomain)
		}
	}
	if c := spec.IngressClassName; c != nil {
		e.Name(fld.Child("ingressClassName"), *c, apivalidation.NameIsDNSSubdomain)
	}
	return e.List()
}

func validateIngressCreate(i *networkingv1.Ingress) field.ErrorList {
	value, old := i.Annotations[classAnnotation]
	if !old || i.Spec.IngressClassName == nil || value == *i.Spec.IngressClassName {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("annotations").Child(classAnnotation), value,
		"must match `ingressClassName` when both are specified")}
}

// checkHost checks a name, of which the first part may be any.
func checkHost(e *validate.Errors, host string, fld *field.Path) {
	if strings.Contains(host, "*") {
		e.Messages(fld, host, validation.IsWildcardDNS1123Subdomain(host))
		return
	}
	e.DNSSubdomain(fld, host)
}

func checkRule(e *validate.Errors, r *networkingv1.IngressRule, fld *field.Path) {
	if r.Host != "" {
		if netutils.ParseIPSloppy(r.Host) != nil {
			e.Invalid(fld.Child("host"), r.Host, "must be a DNS name, not an IP address")
		}
		checkHost(e, r.Host, fld.Child("host"))
	}
	if r.HTTP == nil {
		return
	}
	paths := fld.Child("http", "paths")
	if len(r.HTTP.Paths) == 0 {
		e.Required(paths, "")
	}
	for i := range r.HTTP.Paths {
		if checkPath(e, &r.HTTP.Paths[i], paths.Index(i)) {
			checkBackend(e, &r.HTTP.Paths[i].Backend, paths.Index(i).Child("backend"))
		}
	}
}

var (
	// misleadingParts and misleadingEnds are read differently by different
	// proxies.
	misleadingParts = []string{"//", "/./", "/../", "%2f", "%2F"}
	misleadingEnds  = []string{"/..", "/."}
)

// checkPath is false when nothing else of the path is to be told.
func checkPath(e *validate.Errors, p *networkingv1.HTTPIngressPath, fld *field.Path) bool {
	if p.PathType == nil {
		e.Required(fld.Child("pathType"), "pathType must be specified")
		return false
	}
	at, absolute := fld.Child("path"), strings.HasPrefix(p.Path, "/")
	switch *p.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !absolute {
			e.Invalid(at, p.Path, "must be an absolute path")
		}
		for _, part := range misleadingParts {
			if strings.Contains(p.Path, part) {
				e.Invalidf(at, p.Path, "must not contain '%s'", part)
			}
		}
		for _, end := range misleadingEnds {
			if strings.HasSuffix(p.Path, end) {
				e.Invalidf(at, p.Path, "cannot end with '%s'", end)
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if p.Path != "" && !absolute {
			e.Invalid(at, p.Path, "must be an absolute path")
		}
	default:
		validate.Enum(e, fld.Child("pathType"), *p.PathType,
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix)
	}
	return true
}

func checkBackend(e *validate.Errors, b *networkingv1.IngressBackend, fld *field.Path) {
	switch {
	case b.Resource != nil && b.Service != nil:
		e.Invalid(fld, "", "cannot set both resource and service backends")
	case b.Resource != nil:
		p := fld.Child("resource")
		if group := b.Resource.APIGroup; group != nil {
			e.DNSSubdomain(p.Child("apiGroup"), *group)
		}
		checkObjectName(e, b.Resource.Kind, p.Child("kind"))
		checkObjectName(e, b.Resource.Name, p.Child("name"))
	case b.Service != nil:
		checkServiceBackend(e, b.Service, fld)
	default:
		e.Invalid(fld, "", "resource or service backend is required")
	}
}

// checkObjectName checks a part of a reference, which can stand in a URL.
func checkObjectName(e *validate.Errors, name string, fld *field.Path) {
	if name == "" {
		e.Required(fld, "")
		return
	}
	e.Messages(fld, name, validate.PathSegment(name, false))
}

func checkServiceBackend(e *validate.Errors, s *networkingv1.IngressServiceBackend, fld *field.Path) {
	p := fld.Child("service")
	if s.Name == "" {
		e.Required(p.Child("name"), "")
	} else {
		e.Name(p.Child("name"), s.Name, apivalidation.NameIsDNSLabel)
	}
	switch byName, byNumber := s.Port.Name != "", s.Port.Number != 0; {
	case byName && byNumber:
		e.Invalid(fld, "", "cannot set both port name & port number")
	case byName:
		e.Messages(p.Child("port", "name"), s.Port.Name, validation.IsValidPortName(s.Port.Name))
	case byNumber:
		e.PortNumber(p.Child("port", "number"), s.Port.Number)
	default:
		e.Required(fld, "port name or number is required")
	}
}

func validateIngressStatus(i, _ *networkingv1.Ingress) field.ErrorList {
	var e validate.Errors
	for n, in := range i.Status.LoadBalancer.Ingress {
		p := field.NewPath("status", "loadBalancer", "ingress").Index(n)
		if in.IP != "" {
			e.Add(validation.IsValidIPForLegacyField(p.Child("ip"), in.IP, true, nil))
		}
		if in.Hostname != "" {
			e.DNSSubdomain(p.Child("hostname"), in.Hostname)
			if netutils.ParseIPSloppy(in.Hostname) != nil {
				e.Invalid(p.Child("hostname"), in.Hostname, "must be a DNS name, not an IP address")
			}
		}
	}
	return e.List()
}
