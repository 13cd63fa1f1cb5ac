package networking

import (
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// IPAddress says who has an address.
var IPAddress = api.Of[networkingv1.IPAddress]{
	Group: networkingv1.GroupName, Version: "v1", Kind: "IPAddress", Resource: "ipaddresses",
	ShortNames:    []string{"ip"},
	ClusterScoped: true,

	NameValidation: func(name string, _ bool) []string {
		// One form of each address, so that two objects are never for one.
		var msgs []string
		for _, err := range validation.IsValidIP(nil, name) {
			msgs = append(msgs, err.Detail)
		}
		return msgs
	},
	Validate: validateIPAddress,
	ValidateUpdate: func(a, old *networkingv1.IPAddress) field.ErrorList {
		var e validate.Errors
		e.Unchanged(field.NewPath("spec", "parentRef"), a.Spec.ParentRef, old.Spec.ParentRef)
		return e.List()
	},

	Columns: []api.Column[networkingv1.IPAddress]{
		print.Name[networkingv1.IPAddress](),
		{
			Name: "ParentRef", Description: networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"],
			Value: func(a *networkingv1.IPAddress) any { return parent(a.Spec.ParentRef) },
		},
	},
}

// parent names an object: "services/default/web".
func parent(r *networkingv1.ParentReference) string {
	if r == nil {
		return print.None
	}
	name := r.Resource
	if r.Group != "" {
		name += "." + r.Group
	}
	if r.Namespace != "" {
		name += "/" + r.Namespace
	}
	return name + "/" + r.Name
}

func validateIPAddress(a *networkingv1.IPAddress) field.ErrorList {
	var e validate.Errors
	r, fld := a.Spec.ParentRef, field.NewPath("spec", "parentRef")
	if r == nil {
		e.Required(fld, "")
		return e.List()
	}
	if r.Group != "" {
		e.DNSSubdomain(fld.Child("group"), r.Group)
	}
	for _, f := range []struct {
		name, value string
		required    bool
	}{{"resource", r.Resource, true}, {"name", r.Name, true}, {"namespace", r.Namespace, false}} {
		if f.value == "" && f.required {
			e.Required(fld.Child(f.name), "")
		}
		if f.value != "" {
			e.Messages(fld.Child(f.name), f.value, validate.PathSegment(f.value, false))
		}
	}
	return e.List()
}
