package quota_test

import (
	"maps"
	"testing"

	resourcev1 "k8s.io/api/resource/v1"

	"github.com/skiffcluster/skiff/internal/quota"
)

func TestDevicesThatClaimsUse(t *testing.T) {
	exactly := func(class string, mode resourcev1.DeviceAllocationMode, n int64) resourcev1.DeviceRequest {
		return resourcev1.DeviceRequest{Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: class, AllocationMode: mode, Count: n}}
	}
	or := func(class string, n int64) resourcev1.DeviceSubRequest {
		return resourcev1.DeviceSubRequest{DeviceClassName: class, AllocationMode: resourcev1.DeviceAllocationModeExactCount, Count: n}
	}
	tests := map[string]struct {
		requests []resourcev1.DeviceRequest
		want     map[string]string
	}{
		"no devices": {nil, map[string]string{}},
		"devices of one class, by two requests": {
			[]resourcev1.DeviceRequest{exactly("gold", resourcev1.DeviceAllocationModeExactCount, 2), exactly("gold", resourcev1.DeviceAllocationModeExactCount, 3)},
			map[string]string{"gold": "5"},
		},
		"all devices are as many as a claim can be given": {
			[]resourcev1.DeviceRequest{exactly("gold", resourcev1.DeviceAllocationModeAll, 0)},
			map[string]string{"gold": "32"},
		},
		"alternatives count with the most of each class": {
			[]resourcev1.DeviceRequest{
				{FirstAvailable: []resourcev1.DeviceSubRequest{or("gold", 1), or("silver", 2), or("gold", 3)}},
				exactly("silver", resourcev1.DeviceAllocationModeExactCount, 1),
			},
			map[string]string{"gold": "3", "silver": "3"},
		},
		"a mode of a later version counts nothing": {
			[]resourcev1.DeviceRequest{exactly("gold", "Some", 4)},
			map[string]string{"gold": "0"},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			claim := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: test.requests}}}
			for _, e := range quota.Evaluators(nil) {
				if e.GroupResource() != resourcev1.Resource("resourceclaims") {
					continue
				}
				used, err := e.Usage(claim)
				if err != nil {
					t.Fatal(err)
				}
				want := map[string]string{"count/resourceclaims.resource.k8s.io": "1"}
				for class, n := range test.want {
					want[class+".deviceclass.resource.k8s.io/devices"] = n
				}
				got := map[string]string{}
				for name, q := range used {
					got[string(name)] = q.String()
				}
				if !maps.Equal(got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
				return
			}
			t.Error("nothing counts resource claims")
		})
	}
}
