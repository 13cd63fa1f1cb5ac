package networking

import (
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

// ServiceCIDR is a range that services have addresses from.
var ServiceCIDR = api.Of[networkingv1.ServiceCIDR]{
	Group: networkingv1.GroupName, Version: "v1", Kind: "ServiceCIDR", Resource: "servicecidrs",
	ClusterScoped: true,

	ValidateCreate: validateServiceCIDR,
	ValidateUpdate: func(c, old *networkingv1.ServiceCIDR) field.ErrorList {
		return validateServiceCIDRUpdate(c.Spec.CIDRs, old.Spec.CIDRs, c)
	},
	Status: &api.Status[networkingv1.ServiceCIDR]{KeepMetadata: true},

	Columns: []api.Column[networkingv1.ServiceCIDR]{
		print.Name[networkingv1.ServiceCIDR](),
		{
			Name: "CIDRs", Description: networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"],
			Value: func(c *networkingv1.ServiceCIDR) any { return strings.Join(c.Spec.CIDRs, ",") },
		},
		print.Age[networkingv1.ServiceCIDR](),
	},
}

func validateServiceCIDR(c *networkingv1.ServiceCIDR) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec", "cidrs")
	switch list := c.Spec.CIDRs; {
	case len(list) == 0:
		e.Required(fld, "at least one CIDR required")
		return e.List()
	case len(list) > 2:
		e.Invalid(fld, c.Spec, "may only hold up to 2 values")
		return e.List()
	}
	for i, cidr := range c.Spec.CIDRs {
		e.Add(validation.IsValidCIDR(fld.Index(i), cidr))
	}
	if len(c.Spec.CIDRs) == 2 && sameFamily(c.Spec.CIDRs[0], c.Spec.CIDRs[1]) {
		e.Invalid(fld, c.Spec.CIDRs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
	}
	return e.List()
}

// sameFamily says whether two networks are of one family; those that are none
// have none.
func sameFamily(a, b string) bool {
	x, y := netutils.IPFamilyOfCIDRString(a), netutils.IPFamilyOfCIDRString(b)
	return x == y && x != netutils.IPFamilyUnknown
}

// validateServiceCIDRUpdate lets a second family be added, and nothing else.
func validateServiceCIDRUpdate(now, was []string, c *networkingv1.ServiceCIDR) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec", "cidrs")
	switch {
	case len(now) == len(was):
		for i := range was {
			if now[i] != was[i] {
				e.Invalid(fld.Index(i), now[i], apivalidation.FieldImmutableErrorMsg)
			}
		}
	case len(was) == 1 && len(now) == 2:
		if now[0] != was[0] {
			e.Invalid(fld.Index(0), now[0], apivalidation.FieldImmutableErrorMsg)
		}
		e.Add(validateServiceCIDR(c))
	default:
		e.Invalid(fld, now, apivalidation.FieldImmutableErrorMsg)
	}
	return e.List()
}
