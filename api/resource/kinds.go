package resource

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	stable := []*api.Kind{
		DeviceClass.Erase(), DeviceTaintRule.Erase(), ResourceClaim.Erase(), ResourceClaimTemplate.Erase(), ResourceSlice.Erase(),
	}
	kinds := stable
	for _, k := range stable {
		kinds = append(kinds, k.In("v1beta2"))
	}
	for _, k := range stable {
		if k.GVK.Kind == "DeviceTaintRule" {
			kinds = append(kinds, k.In("v1alpha3"))
			continue
		}
		kinds = append(kinds, k.In("v1beta1"))
	}
	return append(kinds, ResourcePoolStatusRequest.Erase())
}
