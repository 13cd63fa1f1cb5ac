package resource

import (
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ResourceClaim asks for devices, and says which were given to it.
var ResourceClaim = api.Of[resourcev1.ResourceClaim]{
	Group: resourcev1.GroupName, Version: "v1", Kind: "ResourceClaim", Resource: "resourceclaims",
	ReturnDeleted: true,

	Default: func(c *resourcev1.ResourceClaim) { defaultClaim(&c.Spec); defaultResults(&c.Status) },
	ValidateCreate: func(c *resourcev1.ResourceClaim) field.ErrorList {
		var e validate.Errors
		checkClaim(&e, &c.Spec, field.NewPath("spec"))
		return e.List()
	},
	ValidateUpdate: func(c, old *resourcev1.ResourceClaim) field.ErrorList {
		var e validate.Errors
		e.Unchanged(field.NewPath("spec"), c.Spec, old.Spec)
		return e.List()
	},
	Status: &api.Status[resourcev1.ResourceClaim]{KeepMetadata: true, NoTable: true, PrepareUpdate: dropDevices, Validate: checkClaimStatus},

	Columns: []api.Column[resourcev1.ResourceClaim]{
		print.Name[resourcev1.ResourceClaim](),
		{
			Name: "State", Description: "A summary of the current state (allocated, pending, reserved, etc.).",
			Value: func(c *resourcev1.ResourceClaim) any { return state(c) },
		},
		print.Age[resourcev1.ResourceClaim](),
	},
}

func state(c *resourcev1.ResourceClaim) string {
	var words []string
	if c.DeletionTimestamp != nil {
		words = append(words, "deleted")
	}
	switch {
	case c.Status.Allocation == nil && c.DeletionTimestamp == nil:
		words = append(words, "pending")
	case c.Status.Allocation != nil:
		words = append(words, "allocated")
		if len(c.Status.ReservedFor) > 0 {
			words = append(words, "reserved")
		}
	}
	return strings.Join(words, ",")
}

func defaultClaim(s *resourcev1.ResourceClaimSpec) {
	for i := range s.Devices.Requests {
		r := &s.Devices.Requests[i]
		if x := r.Exactly; x != nil {
			defaultRequest(&x.AllocationMode, &x.Count, x.Tolerations)
		}
		for j := range r.FirstAvailable {
			x := &r.FirstAvailable[j]
			defaultRequest(&x.AllocationMode, &x.Count, x.Tolerations)
		}
	}
}

func defaultRequest(mode *resourcev1.DeviceAllocationMode, count *int64, tolerations []resourcev1.DeviceToleration) {
	if *mode == "" {
		*mode = resourcev1.DeviceAllocationModeExactCount
	}
	if *mode == resourcev1.DeviceAllocationModeExactCount && *count == 0 {
		*count = 1
	}
	defaultTolerations(tolerations)
}

func defaultTolerations(tolerations []resourcev1.DeviceToleration) {
	for i := range tolerations {
		if tolerations[i].Operator == "" {
			tolerations[i].Operator = resourcev1.DeviceTolerationOpEqual
		}
	}
}

func defaultResults(s *resourcev1.ResourceClaimStatus) {
	if s.Allocation == nil {
		return
	}
	for i := range s.Allocation.Devices.Results {
		defaultTolerations(s.Allocation.Devices.Results[i].Tolerations)
	}
}

// claim is what a claim's parts are checked against.
type claim struct {
	*validate.Errors
	// requests are the names that parts may refer to: "request" and
	// "request/subrequest".
	requests sets.Set[string]
	// compared are the attributes that constraints compare, by the request
	// that they do it for; "" is for all.
	compared map[string]sets.Set[string]
}

func newClaim(e *validate.Errors, d *resourcev1.DeviceClaim) *claim {
	c := &claim{Errors: e, requests: sets.New[string](), compared: map[string]sets.Set[string]{}}
	for i := range d.Requests {
		c.requests.Insert(d.Requests[i].Name)
		for j := range d.Requests[i].FirstAvailable {
			c.requests.Insert(d.Requests[i].Name + "/" + d.Requests[i].FirstAvailable[j].Name)
		}
	}
	for _, k := range d.Constraints {
		attribute := k.MatchAttribute
		if attribute == nil {
			attribute = k.DistinctAttribute
		}
		requests := k.Requests
		if len(requests) == 0 {
			requests = []string{""}
		}
		for _, r := range requests {
			if attribute == nil {
				continue
			}
			if c.compared[r] == nil {
				c.compared[r] = sets.New[string]()
			}
			c.compared[r].Insert(string(*attribute))
		}
	}
	return c
}

func checkClaim(e *validate.Errors, s *resourcev1.ResourceClaimSpec, fld *field.Path) {
	c, d, p := newClaim(e, &s.Devices), &s.Devices, fld.Child("devices")
	unique(c.Errors, d.Requests, resourcev1.DeviceRequestsMaxSize, p.Child("requests"),
		func(r *resourcev1.DeviceRequest) string { return r.Name }, c.checkRequest)
	each(c.Errors, d.Constraints, resourcev1.DeviceConstraintsMaxSize, p.Child("constraints"), c.checkConstraint)
	each(c.Errors, d.Config, resourcev1.DeviceConfigMaxSize, p.Child("config"), func(k *resourcev1.DeviceClaimConfiguration, p *field.Path) {
		c.checkReferences(k.Requests, p.Child("requests"))
		checkConfiguration(c.Errors, &k.DeviceConfiguration, false, p)
	})
}

func (c *claim) checkRequest(r *resourcev1.DeviceRequest, p *field.Path) {
	c.DNSLabel(p.Child("name"), r.Name)
	const rule = "exactly one of `exactly` or `firstAvailable` is required"
	switch x := r.Exactly; {
	case x == nil && len(r.FirstAvailable) == 0:
		c.Required(p, rule)
	case x != nil && len(r.FirstAvailable) > 0:
		c.Invalid(p, nil, rule+", but multiple fields are set")
	case x != nil:
		if x.DeviceClassName == "" {
			c.Required(p.Child("exactly", "deviceClassName"), "")
		} else {
			c.DNSSubdomain(p.Child("exactly", "deviceClassName"), x.DeviceClassName)
		}
		c.checkWanted(&resourcev1.DeviceSubRequest{
			Name: r.Name, DeviceClassName: x.DeviceClassName, Selectors: x.Selectors, AllocationMode: x.AllocationMode, Count: x.Count,
			Tolerations: x.Tolerations, Capacity: x.Capacity, DerivedAttributes: x.DerivedAttributes,
		}, r.Name, p.Child("exactly"))
	default:
		unique(c.Errors, r.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, p.Child("firstAvailable"),
			func(s *resourcev1.DeviceSubRequest) string { return s.Name }, func(s *resourcev1.DeviceSubRequest, p *field.Path) {
				c.DNSLabel(p.Child("name"), s.Name)
				if s.DeviceClassName == "" {
					c.Declared().Required(p.Child("deviceClassName"), "")
				} else {
					c.Declared().Name(p.Child("deviceClassName"), s.DeviceClassName, validate.LongName)
				}
				c.checkWanted(s, r.Name+"/"+s.Name, p)
			})
	}
}

// checkWanted checks which devices are wanted, and how many.
func (c *claim) checkWanted(r *resourcev1.DeviceSubRequest, name string, p *field.Path) {
	checkSelectors(c.Errors, r.Selectors, p.Child("selectors"))
	distinct(c.Errors, r.DerivedAttributes, resourcev1.DeviceDerivedAttributesMaxSize, p.Child("derivedAttributes"),
		func(a *resourcev1.DeviceDerivedAttribute) resourcev1.FullyQualifiedName { return a.Name },
		func(a *resourcev1.DeviceDerivedAttribute, p *field.Path) {
			c.Text(p.Child("expression"), a.Expression)
			if a.Name == "" {
				c.Required(p.Child("name"), "")
				return
			}
			checkQualified(c.Errors, string(a.Name), true, p.Child("name"))
			request, _, _ := strings.Cut(name, "/")
			if !c.compared[""].Has(string(a.Name)) && !c.compared[name].Has(string(a.Name)) && !c.compared[request].Has(string(a.Name)) {
				c.Invalid(p.Child("name"), a.Name, "must be referenced by at least one matchAttribute or distinctAttribute constraint targeting this request")
			}
		})
	switch {
	case r.AllocationMode == resourcev1.DeviceAllocationModeAll && r.Count != 0:
		c.Invalidf(p.Child("count"), r.Count, "must not be specified when allocationMode is '%s'", r.AllocationMode)
	case r.AllocationMode == resourcev1.DeviceAllocationModeExactCount && r.Count <= 0:
		c.Invalid(p.Child("count"), r.Count, validate.NotPositive)
	}
	validate.Enum(c.Declared(), p.Child("allocationMode"), r.AllocationMode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount)
	checkTolerations(c.Errors, r.Tolerations, p.Child("tolerations"))
}

func (c *claim) checkConstraint(k *resourcev1.DeviceConstraint, p *field.Path) {
	c.checkReferences(k.Requests, p.Child("requests"))
	switch {
	case k.MatchAttribute != nil:
		checkQualified(c.Declared(), string(*k.MatchAttribute), true, p.Child("matchAttribute"))
	case k.DistinctAttribute != nil:
		checkQualified(c.Declared(), string(*k.DistinctAttribute), true, p.Child("distinctAttribute"))
	default:
		c.Required(p, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`)
	}
}

// checkReferences checks names of requests.
func (c *claim) checkReferences(names []string, p *field.Path) {
	unique(c.Errors, names, resourcev1.DeviceRequestsMaxSize, p, itself, func(name *string, p *field.Path) { c.checkReference(*name, p) })
}

func (c *claim) checkReference(name string, p *field.Path) {
	const rule = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	if strings.Count(name, "/") > 1 {
		c.Invalid(p, name, rule)
		return
	}
	for part := range strings.SplitSeq(name, "/") {
		c.DNSLabel(p, part)
	}
	if !c.requests.Has(name) {
		c.Invalid(p, name, rule)
	}
}
