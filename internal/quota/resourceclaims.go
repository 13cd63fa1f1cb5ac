package quota

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// resourceClaims counts claims of devices, and the devices that they ask for of
// each class: "gold.deviceclass.resource.k8s.io/devices".
type resourceClaims struct {
	scoped
	list generic.ListFuncByNamespace
}

var _ quota.Evaluator = &resourceClaims{}

const countResourceClaims corev1.ResourceName = "count/resourceclaims.resource.k8s.io"

func (*resourceClaims) GroupResource() schema.GroupResource {
	return resourcev1.Resource("resourceclaims")
}

func (*resourceClaims) Handles(a admission.Attributes) bool {
	return a.GetSubresource() == "" && (a.GetOperation() == admission.Create || a.GetOperation() == admission.Update)
}

func (*resourceClaims) Constraints([]corev1.ResourceName, runtime.Object) error { return nil }

func (c *resourceClaims) Matches(q *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(q, item, c.MatchingResources, c.in)
}

func (*resourceClaims) MatchingResources(input []corev1.ResourceName) []corev1.ResourceName {
	var out []corev1.ResourceName
	for _, name := range input {
		if name == countResourceClaims || strings.HasSuffix(string(name), corev1.ResourceClaimsPerClass) {
			out = append(out, name)
		}
	}
	return out
}

// Usage implements quota.Evaluator. Of alternatives the most devices of each class
// count, and all devices of a class as the most that a claim can be given.
func (*resourceClaims) Usage(item runtime.Object) (corev1.ResourceList, error) {
	claim, ok := item.(*resourcev1.ResourceClaim)
	if !ok {
		return nil, fmt.Errorf("expect *resourcev1.ResourceClaim, got %T", item)
	}
	devices := map[string]int64{}
	for _, request := range claim.Spec.Devices.Requests {
		most := map[string]int64{}
		for _, r := range request.FirstAvailable {
			most[r.DeviceClassName] = max(most[r.DeviceClassName], devicesOf(r.AllocationMode, r.Count))
		}
		if r := request.Exactly; r != nil && len(most) == 0 {
			most[r.DeviceClassName] = devicesOf(r.AllocationMode, r.Count)
		}
		for class, n := range most {
			devices[class] += n
		}
	}
	used := corev1.ResourceList{countResourceClaims: count(1)}
	for class, n := range devices {
		used[corev1.ResourceName(class+corev1.ResourceClaimsPerClass)] = count(n)
	}
	return used, nil
}

func devicesOf(mode resourcev1.DeviceAllocationMode, exactly int64) int64 {
	switch mode {
	case resourcev1.DeviceAllocationModeExactCount:
		return exactly
	case resourcev1.DeviceAllocationModeAll:
		return resourcev1.AllocationResultsMaxSize
	}
	return 0 // a mode of a later version
}

func (c *resourceClaims) UsageStats(o quota.UsageStatsOptions) (quota.UsageStats, error) {
	return generic.CalculateUsageStats(o, c.list, c.in, c.Usage)
}
