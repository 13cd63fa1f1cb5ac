package networking

import (
	"net/netip"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ServiceCIDR is a range that services have addresses from.
var ServiceCIDR = api.Of[networkingv1.ServiceCIDR]{
	Group: networkingv1.GroupName, Version: "v1", Kind: "ServiceCIDR", Resource: "servicecidrs",
	ClusterScoped: true,

	Validate: validateServiceCIDR,
	ValidateUpdate: func(c, old *networkingv1.ServiceCIDR) field.ErrorList {
		return apivalidation.ValidateImmutableField(c.Spec.CIDRs, old.Spec.CIDRs, field.NewPath("spec", "cidrs"))
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
	case len(list) == 2 && !bothFamilies(list):
		e.Invalid(fld, c.Spec, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64")
		return e.List()
	}
	for i, cidr := range c.Spec.CIDRs {
		e.Add(validation.IsValidCIDR(fld.Index(i), cidr))
	}
	return e.List()
}

func bothFamilies(cidrs []string) bool {
	a, err := netip.ParsePrefix(cidrs[0])
	b, other := netip.ParsePrefix(cidrs[1])
	return err == nil && other == nil && a.Addr().Is4() != b.Addr().Is4()
}
