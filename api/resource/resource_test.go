package resource_test

import (
	"strings"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/resource"
)

func exactly(name string, change func(*resourcev1.ExactDeviceRequest)) resourcev1.DeviceRequest {
	r := &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: 1}
	if change != nil {
		change(r)
	}
	return resourcev1.DeviceRequest{Name: name, Exactly: r}
}

func TestClaims(t *testing.T) {
	attribute := ptr.To(resourcev1.FullyQualifiedName("example.com/numa"))
	for _, c := range []struct {
		name  string
		claim resourcev1.DeviceClaim
		want  []string
	}{
		{"a device of a class", resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{exactly("a", nil)}}, nil},
		{
			"a request is of one sort",
			resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{{Name: "a"}, {Name: "b", Exactly: &resourcev1.ExactDeviceRequest{}, FirstAvailable: []resourcev1.DeviceSubRequest{{}}}}},
			[]string{
				"spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
				"spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set",
			},
		},
		{
			"counts go with the mode",
			resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
				exactly("a", func(r *resourcev1.ExactDeviceRequest) { r.Count = -1 }),
				exactly("b", func(r *resourcev1.ExactDeviceRequest) { r.AllocationMode = resourcev1.DeviceAllocationModeAll }),
				exactly("c", func(r *resourcev1.ExactDeviceRequest) { r.AllocationMode = "Some" }),
			}},
			[]string{
				"spec.devices.requests[0].exactly.count: Invalid value: -1: must be greater than zero",
				"spec.devices.requests[1].exactly.count: Invalid value: 1: must not be specified when allocationMode is 'All'",
				`spec.devices.requests[2].exactly.allocationMode: Unsupported value: "Some": supported values: "All", "ExactCount"`,
			},
		},
		{
			"names are names, and are there once",
			resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
				exactly("A", nil), exactly("a", func(r *resourcev1.ExactDeviceRequest) { r.DeviceClassName = "" }), exactly("a", nil),
			}},
			[]string{
				`spec.devices.requests[0].name: Invalid value: "A"`, "spec.devices.requests[1].exactly.deviceClassName: Required value",
				`spec.devices.requests[2]: Duplicate value: {"name":"a",`,
			},
		},
		{
			"tolerations compare or do not",
			resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{exactly("a", func(r *resourcev1.ExactDeviceRequest) {
				r.Tolerations = []resourcev1.DeviceToleration{
					{Operator: "Exists", Value: "x"}, {}, {Operator: "Equal", Effect: "Maybe"},
				}
			})}},
			[]string{
				"spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`",
				"spec.devices.requests[0].exactly.tolerations[1].operator: Required value",
				`spec.devices.requests[0].exactly.tolerations[2].effect: Unsupported value: "Maybe"`,
			},
		},
		{
			"constraints are about requests that are there",
			resourcev1.DeviceClaim{
				Requests:    []resourcev1.DeviceRequest{{Name: "a", FirstAvailable: []resourcev1.DeviceSubRequest{{Name: "x", DeviceClassName: "gpu", AllocationMode: "All"}}}},
				Constraints: []resourcev1.DeviceConstraint{{Requests: []string{"a", "a/x"}, MatchAttribute: attribute}, {Requests: []string{"a/y"}, MatchAttribute: ptr.To(resourcev1.FullyQualifiedName("numa"))}, {}},
			},
			[]string{
				`spec.devices.constraints[1].requests[0]: Invalid value: "a/y": must be the name of a request in the claim or the name of a request and a subrequest separated by '/'`,
				`spec.devices.constraints[2]: Required value: exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`,
				`spec.devices.constraints[1].matchAttribute: Invalid value: "numa": a fully qualified name must be a domain and a name separated by a slash`,
			},
		},
		{
			"configuration is an object for a driver",
			resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{exactly("a", nil)}, Config: []resourcev1.DeviceClaimConfiguration{
				{}, {DeviceConfiguration: resourcev1.DeviceConfiguration{Opaque: &resourcev1.OpaqueDeviceConfiguration{Driver: "d.example.com", Parameters: runtime.RawExtension{Raw: []byte("[1]")}}}},
			}},
			[]string{
				"spec.devices.config[0].opaque: Required value",
				`spec.devices.config[1].opaque.parameters: Invalid value: "<value omitted>": must be a valid JSON object`,
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, resource.ResourceClaim.ValidateCreate(&resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: c.claim}}), c.want...)
		})
	}
	claim := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Name: "a", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", Tolerations: []resourcev1.DeviceToleration{{Key: "k"}}}},
	}}}}
	resource.ResourceClaim.Default(claim)
	if x := claim.Spec.Devices.Requests[0].Exactly; x.AllocationMode != "ExactCount" || x.Count != 1 || x.Tolerations[0].Operator != "Equal" {
		t.Errorf("defaults %+v", x)
	}
	other := claim.DeepCopy()
	other.Spec.Devices.Requests[0].Name = "b"
	kindtest.Errors(t, resource.ResourceClaim.ValidateUpdate(other, claim), "spec: Invalid value")
}

func TestClaimStatus(t *testing.T) {
	claim := func(change func(*resourcev1.ResourceClaim)) *resourcev1.ResourceClaim {
		c := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{exactly("a", nil)}}}}
		c.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
			{Request: "a", Driver: "d.example.com", Pool: "n1", Device: "dev"},
		}}}
		if change != nil {
			change(c)
		}
		return c
	}
	user := resourcev1.ResourceClaimConsumerReference{Resource: "pods", Name: "p", UID: "u"}
	empty := claim(func(c *resourcev1.ResourceClaim) { c.Status = resourcev1.ResourceClaimStatus{} })
	for _, c := range []struct {
		name     string
		obj, old *resourcev1.ResourceClaim
		state    string
		want     []string
	}{
		{"nothing is allocated", empty, empty, "pending", nil},
		{"a device is allocated", claim(nil), empty, "allocated", nil},
		{"a pod has it", claim(func(c *resourcev1.ResourceClaim) {
			c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{user}
		}), claim(nil), "allocated,reserved", nil},
		{
			"what is not allocated is nobody's",
			claim(func(c *resourcev1.ResourceClaim) {
				c.Status = resourcev1.ResourceClaimStatus{ReservedFor: []resourcev1.ResourceClaimConsumerReference{user, user}}
			}),
			empty, "pending",
			[]string{"status.reservedFor: Forbidden: may not be specified when `allocated` is not set", `status.reservedFor[1]: Duplicate value: {"resource":"pods","name":"p","uid":"u"}`},
		},
		{
			"an allocation stays", claim(func(c *resourcev1.ResourceClaim) { c.Status.Allocation.Devices.Results[0].Device = "other" }), claim(nil), "allocated",
			[]string{"status.allocation: Invalid value"},
		},
		{
			"an end lets nobody in",
			claim(func(c *resourcev1.ResourceClaim) {
				c.DeletionTimestamp = &metav1.Time{}
				c.Status.ReservedFor = []resourcev1.ResourceClaimConsumerReference{user}
			}),
			claim(nil), "deleted,allocated,reserved",
			[]string{"status.reservedFor: Forbidden: new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"},
		},
		{
			"a device that is not the claim's",
			claim(func(c *resourcev1.ResourceClaim) {
				c.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d.example.com", Pool: "n1", Device: "else"}}
			}),
			claim(nil), "allocated", []string{"status.devices[0]: Invalid value: {\"Driver\":\"d.example.com\",\"Pool\":\"n1\",\"Device\":\"else\"}: must be an allocated device in the claim"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, resource.ResourceClaim.Status.Validate(c.obj, c.old), c.want...)
			if cells := resource.ResourceClaim.Erase().Cells(c.obj); cells[1] != c.state {
				t.Errorf("state %v", cells[1])
			}
		})
	}
}

func TestSlices(t *testing.T) {
	valid := func(change func(*resourcev1.ResourceSliceSpec)) *resourcev1.ResourceSlice {
		s := &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{
			Driver: "d.example.com", NodeName: ptr.To("n1"), Pool: resourcev1.ResourcePool{Name: "n1", ResourceSliceCount: 1},
			Devices: []resourcev1.Device{{Name: "a"}},
		}}
		if change != nil {
			change(&s.Spec)
		}
		return s
	}
	quantity := func(text string) *apiresource.Quantity { return ptr.To(apiresource.MustParse(text)) }
	device := func(change func(*resourcev1.Device)) *resourcev1.ResourceSlice {
		return valid(func(s *resourcev1.ResourceSliceSpec) { change(&s.Devices[0]) })
	}
	capacity := func(p *resourcev1.CapacityRequestPolicy) *resourcev1.ResourceSlice {
		return device(func(d *resourcev1.Device) {
			d.AllowMultipleAllocations = ptr.To(true)
			d.Capacity = map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"m": {Value: *quantity("10"), RequestPolicy: p}}
		})
	}
	for _, c := range []struct {
		name  string
		slice *resourcev1.ResourceSlice
		want  []string
	}{
		{"devices of a node", valid(nil), nil},
		{
			"devices of nowhere", valid(func(s *resourcev1.ResourceSliceSpec) { s.NodeName = nil; s.AllNodes = ptr.To(false) }),
			[]string{
				"spec.allNodes: Invalid value: false: must be either unset or set to true",
				"spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
			},
		},
		{
			"devices of here and everywhere", valid(func(s *resourcev1.ResourceSliceSpec) { s.AllNodes = ptr.To(true) }),
			[]string{"spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required, but multiple fields are set"},
		},
		{
			"a pool of nothing", valid(func(s *resourcev1.ResourceSliceSpec) { s.Pool = resourcev1.ResourcePool{Generation: -1} }),
			[]string{
				"spec.pool.name: Required value", "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
				"spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
			},
		},
		{
			"a device says where it is only when it is asked", device(func(d *resourcev1.Device) { d.AllNodes = ptr.To(true) }),
			[]string{"spec.devices[0]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is set to true in the ResourceSlice spec"},
		},
		{
			"attributes have one value each",
			device(func(d *resourcev1.Device) {
				d.Attributes = map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{
					"a": {}, "b": {VersionValue: ptr.To("1.x")}, "c/d/e": {BoolValue: ptr.To(true)}, "f": {StringValues: []string{}},
					"g": {StringValue: ptr.To("x"), IntValue: ptr.To(int64(1))},
				}
			}),
			[]string{
				"spec.devices[0].attributes[b].version: Invalid value: \"1.x\": must be a string compatible with semver.org spec 2.0.0",
				"spec.devices[0].attributes: Invalid value: \"c/d/e\": must not contain more than one slash",
				"spec.devices[0].attributes[f].strings: Invalid value: []: must not be empty if specified",
				"spec.devices[0].attributes[a]: Invalid value: \"\": must specify one of: `int`, `bool`, `string`, `version`, `ints`, `bools`, `strings`, `versions`",
				"spec.devices[0].attributes[f]: Invalid value: \"\": must specify one of: ",
				"spec.devices[0].attributes[g]: Invalid value: \"{int, string}\": must specify exactly one of: `int`, `bool`, ",
			},
		},
		{
			"conditions of both sorts, and none in both",
			device(func(d *resourcev1.Device) {
				d.BindingConditions, d.BindingFailureConditions = []string{"a"}, []string{"a"}
			}),
			[]string{`spec.devices[0].bindingFailureConditions[0]: Invalid value: "a": bindingFailureConditions must not overlap with bindingConditions`},
		},
		{
			"a taint has a key and an effect", device(func(d *resourcev1.Device) { d.Taints = []resourcev1.DeviceTaint{{}} }),
			[]string{
				"spec.devices[0].taints[0].key: Invalid value: \"\": name part must be non-empty", "spec.devices[0].taints[0].key: Invalid value: \"\": name part must consist of",
				"spec.devices[0].taints[0].effect: Required value",
			},
		},
		{"amounts that are listed", capacity(&resourcev1.CapacityRequestPolicy{Default: quantity("2"), ValidValues: []apiresource.Quantity{*quantity("1"), *quantity("2")}}), nil},
		{
			"amounts out of order and without the default",
			capacity(&resourcev1.CapacityRequestPolicy{Default: quantity("5"), ValidValues: []apiresource.Quantity{*quantity("20"), *quantity("1")}}),
			[]string{
				`spec.devices[0].capacity[m].requestPolicy.validValues[1]: Invalid value: "1": values must be sorted in ascending order`,
				`spec.devices[0].capacity[m].requestPolicy.validValues[0]: Invalid value: "20": option is larger than capacity value: 10`,
				`spec.devices[0].capacity[m].requestPolicy.validValues: Invalid value: "5": default value is not valid according to the requestPolicy`,
			},
		},
		{
			"amounts in steps", capacity(&resourcev1.CapacityRequestPolicy{Default: quantity("4"), ValidRange: &resourcev1.CapacityRequestPolicyRange{Min: quantity("1"), Step: quantity("2")}}),
			[]string{`spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "4": value is not a multiple of a given step (2) from (1)`},
		},
		{
			"a step beyond all numbers", capacity(&resourcev1.CapacityRequestPolicy{Default: quantity("1"), ValidRange: &resourcev1.CapacityRequestPolicyRange{Min: quantity("1"), Step: quantity("16Ei")}}),
			[]string{`spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: "9223372036854775807": one step 9223372036854775808 is larger than capacity value: 10`},
		},
		{
			"preparing is skipped with its end only", valid(func(s *resourcev1.ResourceSliceSpec) {
				s.SkipNodeOperations = []resourcev1.SkipNodeOperation{"NodePrepareResources"}
			}),
			[]string{"spec.skipNodeOperations: Invalid value: [\"NodePrepareResources\"]: NodePrepareResources cannot be skipped unless NodeUnprepareResources is also skipped"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			kindtest.Errors(t, resource.ResourceSlice.ValidateCreate(c.slice), c.want...)
		})
	}
	kindtest.Errors(t, resource.ResourceSlice.ValidateCreate(valid(func(s *resourcev1.ResourceSliceSpec) {
		s.Devices = nil
		s.SharedCounters = []resourcev1.CounterSet{{Name: "a"}, {Name: "a", Counters: map[string]resourcev1.Counter{"bad!": {}}}}
	})), `spec.sharedCounters[1]: Duplicate value: {"name":"a"`, "spec.sharedCounters[0].counters: Required value", `spec.sharedCounters[1].counters: Invalid value: "bad!"`)
	moved := valid(func(s *resourcev1.ResourceSliceSpec) { s.NodeName = ptr.To("n2") })
	kindtest.Errors(t, resource.ResourceSlice.ValidateUpdate(moved, valid(nil)), `spec.nodeName: Invalid value: "n2": field is immutable`)
	tainted := device(func(d *resourcev1.Device) { d.Taints = []resourcev1.DeviceTaint{{Key: "k", Effect: "NoSchedule"}} })
	resource.ResourceSlice.PrepareCreate(tainted)
	if tainted.Spec.Devices[0].Taints[0].TimeAdded.IsZero() {
		t.Error("a taint has no time")
	}
}

func TestClassesAndRules(t *testing.T) {
	kindtest.Errors(t, resource.DeviceClass.ValidateCreate(&resourcev1.DeviceClass{Spec: resourcev1.DeviceClassSpec{
		Selectors: []resourcev1.DeviceSelector{{}}, ExtendedResourceName: ptr.To("cpu"),
		Config: []resourcev1.DeviceClassConfiguration{
			{DeviceConfiguration: resourcev1.DeviceConfiguration{Opaque: &resourcev1.OpaqueDeviceConfiguration{}}},
			{DeviceConfiguration: resourcev1.DeviceConfiguration{Opaque: &resourcev1.OpaqueDeviceConfiguration{
				Driver: strings.Repeat("a", 254), Parameters: runtime.RawExtension{Raw: []byte("{}")},
			}}},
		},
	}}), "spec.selectors[0].cel: Required value", "spec.config[0].opaque.parameters: Required value", "spec.config[0].opaque.driver: Required value",
		`spec.config[1].opaque.driver: Invalid value: "`+strings.Repeat("a", 254)+`": must be no more than 253 bytes`,
		"spec.config[1].opaque.driver: Too long: may not be more than 63 characters",
		`spec.extendedResourceName: Invalid value: "cpu": a name must be a domain-prefixed path, such as 'example.com/my-prop'`)
	rule := &resourcev1.DeviceTaintRule{Spec: resourcev1.DeviceTaintRuleSpec{
		DeviceSelector: &resourcev1.DeviceTaintSelector{Pool: ptr.To("")}, Taint: resourcev1.DeviceTaint{Key: "k", Effect: "Odd"},
	}}
	kindtest.Errors(t, resource.DeviceTaintRule.Validate(rule), "spec.deviceSelector.pool: Required value",
		`spec.taint.effect: Unsupported value: "Odd": supported values: "NoExecute", "NoSchedule", "None"`)
}

func TestClaimTemplates(t *testing.T) {
	template := func(change func(*resourcev1.ResourceClaimTemplateSpec)) *resourcev1.ResourceClaimTemplate {
		c := &resourcev1.ResourceClaimTemplate{}
		c.Spec.Spec.Devices.Requests = []resourcev1.DeviceRequest{{Name: "a", FirstAvailable: []resourcev1.DeviceSubRequest{{Name: "x", DeviceClassName: "gpu", AllocationMode: "All"}}}}
		change(&c.Spec)
		return c
	}
	named := template(func(s *resourcev1.ResourceClaimTemplateSpec) { s.Name = "a" })
	kindtest.Errors(t, resource.ResourceClaimTemplate.ValidateCreate(named), "spec.metadata.name: Forbidden: cannot be set")
	kindtest.Errors(t, resource.ResourceClaimTemplate.ValidateUpdate(named, named))
	other := template(func(s *resourcev1.ResourceClaimTemplateSpec) {
		s.Name = "a"
		s.Spec.Devices.Requests[0].FirstAvailable[0].DeviceClassName = ""
	})
	kindtest.Errors(t, resource.ResourceClaimTemplate.ValidateUpdate(other, named), "spec.metadata.name: Forbidden", "spec: Invalid value: ",
		"spec.spec.devices.requests[0].firstAvailable[0].deviceClassName: Required value")
}

func TestWhatDriversTellOfDevicesGoesWithThem(t *testing.T) {
	old := &resourcev1.ResourceClaim{}
	old.Status.Allocation = &resourcev1.AllocationResult{Devices: resourcev1.DeviceAllocationResult{Results: []resourcev1.DeviceRequestAllocationResult{
		{Driver: "d", Pool: "p", Device: "a"}, {Driver: "d", Pool: "p", Device: "b"},
	}}}
	old.Status.Devices = []resourcev1.AllocatedDeviceStatus{{Driver: "d", Pool: "p", Device: "a"}, {Driver: "d", Pool: "p", Device: "b"}}
	claim := old.DeepCopy()
	claim.Status.Allocation.Devices.Results = claim.Status.Allocation.Devices.Results[:1]
	resource.ResourceClaim.Status.PrepareUpdate(claim, old)
	if len(claim.Status.Devices) != 1 || claim.Status.Devices[0].Device != "a" {
		t.Errorf("left of the devices: %v", claim.Status.Devices)
	}
	claim.Status.Allocation = nil
	resource.ResourceClaim.Status.PrepareUpdate(claim, old)
	if claim.Status.Devices != nil {
		t.Errorf("left of the devices: %v", claim.Status.Devices)
	}
}
