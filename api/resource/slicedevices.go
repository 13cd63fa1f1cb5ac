package resource

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/validate"
)

// keyLength is how long the name of an attribute or a capacity may be: domain,
// slash, identifier.
const keyLength = resourcev1.DeviceMaxDomainLength + 1 + resourcev1.DeviceMaxIDLength

// semver is a version of https://semver.org.
var semver = regexp.MustCompile(`^(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}` +
	`(-(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*)(\.(0|[1-9]\d*|\d*[a-zA-Z-][0-9a-zA-Z-]*))*)?(\+[0-9a-zA-Z-]+(\.[0-9a-zA-Z-]+)*)?$`)

func checkDevice(e *validate.Errors, d, old *resourcev1.Device, perDevice bool, p *field.Path) {
	if old == nil {
		old = &resourcev1.Device{}
	}
	e.DNSLabel(p.Child("name"), d.Name)
	if n := len(d.Attributes) + len(d.Capacity); n > resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice {
		e.Invalidf(p, n, "the total number of attributes and capacities must not exceed %d", resourcev1.ResourceSliceMaxAttributesAndCapacitiesPerDevice)
	}
	values := 0
	for _, key := range validate.Keys(d.Attributes) {
		a := d.Attributes[key]
		values += max(1, len(a.BoolValues)+len(a.IntValues)+len(a.StringValues)+len(a.VersionValues))
		checkQualified(e, string(key), false, p.Child("attributes"))
		checkAttribute(e, &a, p.Child("attributes").Key(shortKey(string(key), keyLength)))
	}
	if values > resourcev1.ResourceSliceMaxAttributeValuesPerDevice {
		e.Invalidf(p, values, "the total number of attribute values must not exceed %d", resourcev1.ResourceSliceMaxAttributeValuesPerDevice)
	}
	if old.Name == "" || !apiequality.Semantic.DeepEqual(old.Capacity, d.Capacity) {
		checkCapacities(e, d, p.Child("capacity"))
	}
	if old.Name == "" || !apiequality.Semantic.DeepEqual(old.Taints, d.Taints) {
		each(e, d.Taints, resourcev1.DeviceTaintsMaxLength, p.Child("taints"), func(t *resourcev1.DeviceTaint, p *field.Path) { checkTaint(e, t, p) })
	}
	unique(e, d.ConsumesCounters, resourcev1.ResourceSliceMaxDeviceCounterConsumptionsPerDevice, p.Child("consumesCounters"),
		func(c *resourcev1.DeviceCounterConsumption) string { return c.CounterSet },
		func(c *resourcev1.DeviceCounterConsumption, p *field.Path) {
			checkCounters(e, c.CounterSet, p.Child("counterSet"), c.Counters, resourcev1.ResourceSliceMaxCountersPerDeviceCounterConsumption, p.Child("counters"))
		})
	checkDevicePlace(e, d, perDevice, p)
	checkBindingConditions(e, d.BindingConditions, d.BindingFailureConditions, p)
	checkNodeResources(e, d, p.Child("nodeAllocatableResources"))
}

// checkDevicePlace checks from where one device can be reached, which it may
// only say when its slice tells it to.
func checkDevicePlace(e *validate.Errors, d *resourcev1.Device, perDevice bool, p *field.Path) {
	if !perDevice {
		if d.NodeName != nil || d.NodeSelector != nil || d.AllNodes != nil {
			e.Invalid(p, nil, "`nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec")
		}
		return
	}
	there := map[string]bool{"nodeSelector": d.NodeSelector != nil, "nodeName": ptr.Deref(d.NodeName, "") != ""}
	if d.NodeName != nil {
		checkNodeName(e, *d.NodeName, "must not be empty", p.Child("nodeName"))
	}
	if d.NodeSelector != nil {
		e.Add(core.ValidateNodeSelector(d.NodeSelector, p.Child("nodeSelector")))
	}
	there["allNodes"] = onlyTrue(e, d.AllNodes, p.Child("allNodes"))
	const only = "exactly one of `nodeName`, `nodeSelector`, or `allNodes` is required when `perDeviceNodeSelection` is set to true in the ResourceSlice spec"
	switch set := oneOf(there, "nodeName", "nodeSelector", "allNodes"); {
	case len(set) == 0:
		e.Required(p, only)
	case len(set) > 1:
		e.Invalid(p, fmt.Sprintf("{%s}", strings.Join(set, ", ")), only)
	}
}

func checkAttribute(e *validate.Errors, a *resourcev1.DeviceAttribute, p *field.Path) {
	text := func(version bool) func(*string, *field.Path) {
		return func(value *string, p *field.Path) {
			if version && !semver.MatchString(*value) {
				e.Invalid(p, *value, "must be a string compatible with semver.org spec 2.0.0")
			}
			if len(*value) > resourcev1.DeviceAttributeMaxValueLength {
				e.TooLong(p, resourcev1.DeviceAttributeMaxValueLength)
			}
		}
	}
	if a.StringValue != nil {
		text(false)(a.StringValue, p.Child("string"))
	}
	if a.VersionValue != nil {
		text(true)(a.VersionValue, p.Child("version"))
	}
	listed(e, a.BoolValues, p.Child("bools"), nil)
	listed(e, a.IntValues, p.Child("ints"), nil)
	listed(e, a.StringValues, p.Child("strings"), text(false))
	listed(e, a.VersionValues, p.Child("versions"), text(true))
	const all = "`int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`"
	var set []string
	for _, f := range []struct {
		name  string
		there bool
	}{
		{"int", a.IntValue != nil},
		{"bool", a.BoolValue != nil},
		{"string", a.StringValue != nil},
		{"version", a.VersionValue != nil},
		{"ints", len(a.IntValues) > 0},
		{"bools", len(a.BoolValues) > 0},
		{"strings", len(a.StringValues) > 0},
		{"versions", len(a.VersionValues) > 0},
	} {
		if f.there {
			set = append(set, f.name)
		}
	}
	switch {
	case len(set) == 0:
		e.Declared().Invalid(p, "", "must specify one of: "+all)
	case len(set) > 1:
		e.Declared().Invalid(p, "{"+strings.Join(set, ", ")+"}", "must specify exactly one of: "+all)
	}
}

// listed checks a list that is either not there or has entries.
func listed[T any](e *validate.Errors, list []T, p *field.Path, check func(*T, *field.Path)) {
	if list != nil && len(list) == 0 {
		e.Invalid(p, list, "must not be empty if specified")
	}
	for i := range list {
		if check != nil {
			check(&list[i], p.Index(i))
		}
	}
}

func checkCounters(e *validate.Errors, name string, at *field.Path, counters map[string]resourcev1.Counter, limit int, fld *field.Path) {
	e.Declared().RequiredDNSLabel(at, name)
	switch {
	case len(counters) == 0:
		e.Declared().Required(fld, "")
	case len(counters) > limit:
		e.TooMany(fld, len(counters), limit)
	default:
		for _, key := range validate.Keys(counters) {
			e.Declared().DNSLabel(fld, key)
		}
	}
}

// checkNodeResources checks what a device takes of its node's resources.
func checkNodeResources(e *validate.Errors, d *resourcev1.Device, fld *field.Path) {
	for _, name := range validate.Keys(d.NodeAllocatableResources) {
		r, p := d.NodeAllocatableResources[name], fld.Key(string(name))
		if !nodeAllocatable(name) {
			e.Invalid(p, name, "must be a node allocatable resource name")
		}
		if r.Mapping == nil && r.Overhead == nil {
			e.Required(p, "at least one of mapping or overhead must be set")
		}
		if m := r.Mapping; m != nil {
			checkMapping(e, m, d.Capacity, p.Child("mapping"))
		}
		if o, p := r.Overhead, p.Child("overhead"); o != nil {
			if o.PerPod == nil && o.PerContainer == nil {
				e.Invalid(p, "", "at least one of perPod or perContainer must be set")
			}
			if o.PerPod != nil && o.PerPod.Sign() < 0 {
				e.Invalid(p.Child("perPod"), o.PerPod.String(), "must be non-negative")
			}
			if o.PerContainer != nil && o.PerContainer.Sign() < 0 {
				e.Invalid(p.Child("perContainer"), o.PerContainer.String(), "must be non-negative")
			}
		}
	}
}

func checkMapping(e *validate.Errors, m *resourcev1.NodeAllocatableMapping, capacity map[resourcev1.QualifiedName]resourcev1.DeviceCapacity, p *field.Path) {
	switch {
	case m.CapacityKey == nil && m.CapacityMultiplier != nil:
		e.Required(p.Child("capacityKey"), "capacityKey is required when capacityMultiplier is set")
	case m.CapacityKey == nil:
	case *m.CapacityKey == "":
		e.Invalid(p.Child("capacityKey"), "", "capacityKey must not be an empty string")
	default:
		if _, ok := capacity[*m.CapacityKey]; !ok {
			e.NotFound(p.Child("capacityKey"), *m.CapacityKey)
		}
	}
	if m.CapacityKey != nil {
		if m.CapacityMultiplier == nil {
			e.Required(p.Child("capacityMultiplier"), "capacityMultiplier is required when capacityKey is set")
		} else if m.CapacityMultiplier.Sign() <= 0 {
			e.Invalid(p.Child("capacityMultiplier"), m.CapacityMultiplier.String(), "must be positive")
		}
	}
	if m.DeviceMultiplier != nil && m.DeviceMultiplier.Sign() <= 0 {
		e.Invalid(p.Child("deviceMultiplier"), m.DeviceMultiplier.String(), "must be positive")
	}
}

// nodeAllocatable are the resources that nodes count themselves.
func nodeAllocatable(name corev1.ResourceName) bool {
	return sets.New(corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage).Has(name) ||
		strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix) && len(validation.IsQualifiedName(string(name))) == 0
}
