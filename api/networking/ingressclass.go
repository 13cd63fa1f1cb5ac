package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const maxControllerName = 250

// IngressClass says which controller serves an Ingress.
var IngressClass = api.Of[networkingv1.IngressClass]{
	Group: networkingv1.GroupName, Version: "v1", Kind: "IngressClass", Resource: "ingressclasses",
	ChangeFirst:   true,
	ClusterScoped: true,
	Generation:    true,

	Default: func(c *networkingv1.IngressClass) {
		if p := c.Spec.Parameters; p != nil && p.Scope == nil {
			p.Scope = ptr.To(networkingv1.IngressClassParametersReferenceScopeCluster)
		}
	},
	Validate: validateIngressClass,
	ValidateUpdate: func(c, old *networkingv1.IngressClass) field.ErrorList {
		return apivalidation.ValidateImmutableField(c.Spec.Controller, old.Spec.Controller, field.NewPath("spec", "controller"))
	},

	Columns: []api.Column[networkingv1.IngressClass]{
		{
			Name: "Name", Format: "name", Description: print.NameDoc(),
			Value: func(c *networkingv1.IngressClass) any {
				if c.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true" {
					return c.Name + " (default)"
				}
				return c.Name
			},
		},
		{
			Name: "Controller", Description: "Controller that is responsible for handling this class",
			Value: func(c *networkingv1.IngressClass) any { return c.Spec.Controller },
		},
		{
			Name: "Parameters", Description: "A reference to a resource with additional parameters",
			Value: func(c *networkingv1.IngressClass) any {
				p := c.Spec.Parameters
				if p == nil {
					return print.None
				}
				kind := p.Kind
				if p.APIGroup != nil {
					kind += "." + *p.APIGroup
				}
				return kind + "/" + p.Name
			},
		},
		print.Age[networkingv1.IngressClass](),
	},
}

func validateIngressClass(c *networkingv1.IngressClass) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	if len(c.Spec.Controller) > maxControllerName {
		e.TooLong(fld.Child("controller"), maxControllerName)
	}
	e.Add(validation.IsDomainPrefixedPath(fld.Child("controller"), c.Spec.Controller))
	ref, p := c.Spec.Parameters, fld.Child("parameters")
	if ref == nil {
		return e.List()
	}
	if ref.APIGroup != nil {
		e.DNSSubdomain(p.Child("apiGroup"), *ref.APIGroup)
	}
	checkObjectName(&e, ref.Kind, p.Child("kind"))
	checkObjectName(&e, ref.Name, p.Child("name"))
	if ref.Scope == nil {
		e.Required(p.Child("scope"), "")
		return e.List()
	}
	validate.Enum(&e, p.Child("scope"), *ref.Scope,
		networkingv1.IngressClassParametersReferenceScopeCluster, networkingv1.IngressClassParametersReferenceScopeNamespace)
	switch {
	case *ref.Scope == networkingv1.IngressClassParametersReferenceScopeNamespace && ref.Namespace == nil:
		e.Required(p.Child("namespace"), "`parameters.scope` is set to 'Namespace'")
	case *ref.Scope == networkingv1.IngressClassParametersReferenceScopeNamespace:
		e.Name(p.Child("namespace"), *ref.Namespace, apivalidation.ValidateNamespaceName)
	case *ref.Scope == networkingv1.IngressClassParametersReferenceScopeCluster && ref.Namespace != nil:
		e.Forbidden(p.Child("namespace"), "`parameters.scope` is set to 'Cluster'")
	}
	return e.List()
}
