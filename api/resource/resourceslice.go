package resource

import (
	"fmt"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ResourceSlice is a part of the devices that a driver offers.
var ResourceSlice = api.Of[resourcev1.ResourceSlice]{
	Group: resourcev1.GroupName, Version: "v1", Kind: "ResourceSlice", Resource: "resourceslices",
	ReturnDeleted: true,
	ClusterScoped: true,
	Generation:    true,

	PrepareCreate:  stampDevices,
	PrepareUpdate:  func(s, _ *resourcev1.ResourceSlice) { stampDevices(s) },
	ValidateCreate: func(s *resourcev1.ResourceSlice) field.ErrorList { return checkSlice(s, nil) },
	ValidateUpdate: func(s, old *resourcev1.ResourceSlice) field.ErrorList { return checkSlice(s, old) },

	Fields: func(s *resourcev1.ResourceSlice) fields.Set {
		return fields.Set{
			resourcev1.ResourceSliceSelectorNodeName: ptr.Deref(s.Spec.NodeName, ""),
			resourcev1.ResourceSliceSelectorDriver:   s.Spec.Driver,
			resourcev1.ResourceSliceSelectorPoolName: s.Spec.Pool.Name,
		}
	},
	Indexed: []string{resourcev1.ResourceSliceSelectorNodeName},

	Columns: []api.Column[resourcev1.ResourceSlice]{
		print.Name[resourcev1.ResourceSlice](),
		{
			Name: "Node", Description: resourcev1.ResourceSliceSpec{}.SwaggerDoc()["nodeName"],
			Value: func(s *resourcev1.ResourceSlice) any { return ptr.Deref(s.Spec.NodeName, "") },
		},
		{
			Name: "Driver", Description: resourcev1.ResourceSliceSpec{}.SwaggerDoc()["driver"],
			Value: func(s *resourcev1.ResourceSlice) any { return s.Spec.Driver },
		},
		{
			Name: "Pool", Description: resourcev1.ResourcePool{}.SwaggerDoc()["name"],
			Value: func(s *resourcev1.ResourceSlice) any { return s.Spec.Pool.Name },
		},
		print.Age[resourcev1.ResourceSlice](),
	},
}

func stampDevices(s *resourcev1.ResourceSlice) {
	for i := range s.Spec.Devices {
		for j := range s.Spec.Devices[i].Taints {
			stamp(&s.Spec.Devices[i].Taints[j])
		}
	}
}

// checkSlice leaves alone what devices of old had already: some limits are
// younger than stored slices.
func checkSlice(obj, old *resourcev1.ResourceSlice) field.ErrorList {
	var e validate.Errors
	s, fld := &obj.Spec, field.NewPath("spec")
	e.DriverName(fld.Child("driver"), s.Driver)
	checkPool(&e, s.Pool.Name, fld.Child("pool", "name"))
	e.Positive(fld.Child("pool", "resourceSliceCount"), s.Pool.ResourceSliceCount)
	if s.Pool.Generation < 0 {
		e.Invalid(fld.Child("pool", "generation"), s.Pool.Generation, "must be greater than or equal to zero")
	}
	if old != nil {
		e.Add(apivalidation.ValidateImmutableField(s.Pool.Name, old.Spec.Pool.Name, fld.Child("pool", "name")))
		e.Add(apivalidation.ValidateImmutableField(s.Driver, old.Spec.Driver, fld.Child("driver")))
		e.Add(apivalidation.ValidateImmutableField(s.NodeName, old.Spec.NodeName, fld.Child("nodeName")))
	}
	checkPlace(&e, s, fld)
	if s.SharedCounters != nil && s.Devices != nil {
		e.Invalid(fld, "", "only one of `sharedCounters` or `devices` is allowed")
	}
	before := map[string]*resourcev1.Device{}
	if old != nil {
		for i := range old.Spec.Devices {
			before[old.Spec.Devices[i].Name] = &old.Spec.Devices[i]
		}
	}
	limit := resourcev1.ResourceSliceMaxDevices
	if advanced(s.Devices) {
		limit = resourcev1.ResourceSliceMaxDevicesWithAdvancedFeatures
	}
	perDevice := ptr.Deref(s.PerDeviceNodeSelection, false)
	distinct(&e, s.Devices, limit, fld.Child("devices"), func(d *resourcev1.Device) string { return d.Name },
		func(d *resourcev1.Device, p *field.Path) { checkDevice(&e, d, before[d.Name], perDevice, p) })
	unique(&e, s.SharedCounters, resourcev1.ResourceSliceMaxCounterSets, fld.Child("sharedCounters"),
		func(c *resourcev1.CounterSet) string { return c.Name },
		func(c *resourcev1.CounterSet, p *field.Path) {
			checkCounters(&e, c.Name, p.Child("name"), c.Counters, resourcev1.ResourceSliceMaxCountersPerCounterSet, p.Child("counters"))
		})
	if s.PartitionTypeAttribute != nil {
		checkPartitions(&e, s, fld)
	}
	checkSkipped(&e, s.SkipNodeOperations, fld.Child("skipNodeOperations"))
	return e.List()
}

// checkPlace checks from where the devices can be reached.
func checkPlace(e *validate.Errors, s *resourcev1.ResourceSliceSpec, fld *field.Path) {
	const only = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"
	there := map[string]bool{}
	if s.NodeName != nil {
		checkNodeName(e, *s.NodeName, "must be either unset or set to a non-empty string", fld.Child("nodeName"))
		there["nodeName"] = *s.NodeName != ""
	}
	if n := s.NodeSelector; n != nil {
		there["nodeSelector"] = true
		e.Add(core.ValidateNodeSelector(n, fld.Child("nodeSelector")))
		if len(n.NodeSelectorTerms) != 1 {
			e.Invalid(fld.Child("nodeSelector", "nodeSelectorTerms"), n.NodeSelectorTerms, "must have exactly one node selector term")
		}
	}
	there["allNodes"] = onlyTrue(e, s.AllNodes, fld.Child("allNodes"))
	there["perDeviceNodeSelection"] = onlyTrue(e, s.PerDeviceNodeSelection, fld.Child("perDeviceNodeSelection"))
	set := oneOf(there, "nodeName", "nodeSelector", "allNodes", "perDeviceNodeSelection")
	switch {
	case len(set) == 0:
		e.Required(fld, only)
	case len(set) > 1:
		e.Invalid(fld, fmt.Sprintf("{%s}", strings.Join(set, ", ")), only+", but multiple fields are set")
	}
}

// onlyTrue gives a flag that may not say false.
func onlyTrue(e *validate.Errors, flag *bool, fld *field.Path) bool {
	if flag != nil && !*flag {
		e.Invalid(fld, false, "must be either unset or set to true")
	}
	return ptr.Deref(flag, false)
}

func checkNodeName(e *validate.Errors, name, empty string, fld *field.Path) {
	if name == "" {
		e.Invalid(fld, name, empty)
		return
	}
	e.Messages(fld, name, apivalidation.NameIsDNSSubdomain(name, false))
}

// advanced says whether devices have what makes them costly to allocate.
func advanced(devices []resourcev1.Device) bool {
	for i := range devices {
		d := &devices[i]
		if len(d.Taints) > 0 || len(d.ConsumesCounters) > 0 {
			return true
		}
		for _, a := range d.Attributes {
			if a.BoolValues != nil || a.IntValues != nil || a.StringValues != nil || a.VersionValues != nil {
				return true
			}
		}
	}
	return false
}

// checkPartitions checks that all devices that are parts of others say which
// sort of part they are.
func checkPartitions(e *validate.Errors, s *resourcev1.ResourceSliceSpec, fld *field.Path) {
	name, consumers := string(*s.PartitionTypeAttribute), 0
	var malformed validate.Errors
	checkQualified(&malformed, name, true, fld.Child("partitionTypeAttribute"))
	for i := range s.Devices {
		d := &s.Devices[i]
		if len(d.ConsumesCounters) == 0 {
			continue
		}
		consumers++
		if malformed.Len() > 0 {
			continue
		}
		p := fld.Child("devices").Index(i).Child("attributes").Key(name)
		value, ok := d.Attributes[resourcev1.QualifiedName(name)]
		if !ok { // a name without a domain is in the driver's
			value, ok = d.Attributes[resourcev1.QualifiedName(strings.TrimPrefix(name, s.Driver+"/"))]
		}
		switch {
		case !ok:
			e.Required(p, "device consumes counters and `partitionTypeAttribute` names this attribute, so it must be set")
		case value.StringValue == nil:
			e.Invalid(p, value, "must be a string value because `partitionTypeAttribute` names this attribute")
		}
	}
	e.Add(malformed.List())
	if consumers == 0 {
		e.Invalid(fld.Child("partitionTypeAttribute"), name, "may only be set on a slice which declares devices that consume counters")
	}
}
