package resource

import "github.com/skiffcluster/skiff/api"

// Kinds are the kinds of the group.
func Kinds() []*api.Kind {
	stable := []*api.Kind{
		DeviceClass.Erase(), DeviceTaintRule.Erase(), ResourceClaim.Erase(), ResourceClaimTemplate.Erase(), ResourceSlice.Erase(),
	}
	kinds := stable
	for _, k := range stable {
		older := k.In("v1beta2")
		oldest := k.In("v1beta1")
		if k.GVK.Kind == "DeviceTaintRule" {
			oldest = k.In("v1alpha3")
			older.ReturnDeleted, oldest.ReturnDeleted = true, true // as they did before v1
		}
		kinds = append(kinds, older, oldest)
	}
	return append(kinds, ResourcePoolStatusRequest.Erase())
}
