package resource

import (
	"fmt"
	"strconv"

	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

var poolColumns = []api.Column[resourcev1alpha3.ResourcePoolStatusRequest]{
	print.Name[resourcev1alpha3.ResourcePoolStatusRequest](),
	{
		Name: "Driver", Description: "The driver to query pools for.",
		Value: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any { return r.Spec.Driver },
	},
	sumColumn("Total", "Total number of devices across all pools.", func(p *resourcev1alpha3.PoolStatus) int32 { return ptr.Deref(p.TotalDevices, 0) }),
	sumColumn("Available", "Number of available devices across all pools.", func(p *resourcev1alpha3.PoolStatus) int32 { return ptr.Deref(p.AvailableDevices, 0) }),
	sumColumn("Allocated", "Number of allocated devices across all pools.", func(p *resourcev1alpha3.PoolStatus) int32 { return ptr.Deref(p.AllocatedDevices, 0) }),
	sumColumn("Unavailable", "Number of unavailable devices across all pools.", func(p *resourcev1alpha3.PoolStatus) int32 { return ptr.Deref(p.UnavailableDevices, 0) }),
	sumColumn("Errors", "Number of pools with validation errors.", func(p *resourcev1alpha3.PoolStatus) int32 {
		if p.ValidationError != nil {
			return 1
		}
		return 0
	}),
	{
		Name: "Pools", Type: "integer", Description: "Total number of matching pools.",
		Value: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any { return int64(matching(r)) },
	},
	{
		Name: "Status", Description: "Processing status.",
		Value: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any {
			switch {
			case ended(r, resourcev1alpha3.ResourcePoolStatusRequestConditionFailed) != nil:
				return "Failed"
			case ended(r, resourcev1alpha3.ResourcePoolStatusRequestConditionComplete) == nil:
				return "Pending"
			case matching(r) > int32(len(r.Status.Pools)):
				return fmt.Sprintf("Complete (%d/%d pools)", len(r.Status.Pools), matching(r))
			}
			return "Complete"
		},
	},
	{
		Name: "Completed", Description: "Time since the observation completed.",
		Value: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any {
			if c := ended(r, resourcev1alpha3.ResourcePoolStatusRequestConditionComplete); c != nil {
				return print.Since(c.LastTransitionTime)
			}
			return print.None
		},
	},
}

// sumColumn adds up the pools of a request that was answered.
func sumColumn(name, doc string, of func(*resourcev1alpha3.PoolStatus) int32) api.Column[resourcev1alpha3.ResourcePoolStatusRequest] {
	return api.Column[resourcev1alpha3.ResourcePoolStatusRequest]{
		Name: name, Description: doc,
		Value: func(r *resourcev1alpha3.ResourcePoolStatusRequest) any {
			if r.Status == nil || ended(r, resourcev1alpha3.ResourcePoolStatusRequestConditionFailed) != nil {
				return "-"
			}
			var sum int64
			for i := range r.Status.Pools {
				sum += int64(of(&r.Status.Pools[i]))
			}
			return strconv.FormatInt(sum, 10)
		},
	}
}

// matching is how many pools the request is about, which may be more than are
// listed.
func matching(r *resourcev1alpha3.ResourcePoolStatusRequest) int32 {
	if r.Status == nil {
		return 0
	}
	return ptr.Deref(r.Status.PoolCount, 0)
}

// ended is the condition by which a request ended, or nil.
func ended(r *resourcev1alpha3.ResourcePoolStatusRequest, condition string) *metav1.Condition {
	if r.Status == nil {
		return nil
	}
	if c := apimeta.FindStatusCondition(r.Status.Conditions, condition); c != nil && c.Status == metav1.ConditionTrue {
		return c
	}
	return nil
}
