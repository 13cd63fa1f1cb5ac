package resource

import (
	resourcev1alpha3 "k8s.io/api/resource/v1alpha3"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/validate"
)

// ResourcePoolStatusRequest asks once for how much of a driver's pools is free.
var ResourcePoolStatusRequest = api.Of[resourcev1alpha3.ResourcePoolStatusRequest]{
	Group: resourcev1alpha3.GroupName, Version: "v1alpha3", Kind: "ResourcePoolStatusRequest", Resource: "resourcepoolstatusrequests",
	ReturnDeleted:         true,
	ClusterScoped:         true,
	NoUnconditionalUpdate: true,

	Default: func(r *resourcev1alpha3.ResourcePoolStatusRequest) {
		if r.Spec.Limit == nil {
			r.Spec.Limit = ptr.To(resourcev1alpha3.ResourcePoolStatusRequestLimitDefault)
		}
	},
	ValidateCreate: func(r *resourcev1alpha3.ResourcePoolStatusRequest) field.ErrorList {
		var e validate.Errors
		fld := field.NewPath("spec")
		if r.Spec.Driver == "" {
			e.Required(fld.Child("driver"), "")
		} else {
			e.Messages(fld.Child("driver"), r.Spec.Driver, content.IsDNS1123SubdomainCaseless(r.Spec.Driver)) //nolint:staticcheck // Kubernetes takes such names, and so says it
		}
		if r.Spec.PoolName != nil {
			checkPool(&e, *r.Spec.PoolName, fld.Child("poolName"))
		}
		if n := ptr.Deref(r.Spec.Limit, 1); n < 1 || n > resourcev1alpha3.ResourcePoolStatusRequestLimitMax {
			e.Between(fld.Child("limit"), int64(n), 1, int(resourcev1alpha3.ResourcePoolStatusRequestLimitMax))
		}
		if a := r.Spec.DefaultPartitionTypeAttribute; a != nil {
			checkQualified(&e, *a, true, fld.Child("defaultPartitionTypeAttribute"))
		}
		return e.List()
	},
	ValidateUpdate: func(r, old *resourcev1alpha3.ResourcePoolStatusRequest) field.ErrorList {
		var e validate.Errors
		e.Unchanged(field.NewPath("spec"), r.Spec, old.Spec)
		return e.List()
	},
	Status: &api.Status[resourcev1alpha3.ResourcePoolStatusRequest]{
		KeepMetadata: true,
		NoTable:      true,
		Validate: func(r, old *resourcev1alpha3.ResourcePoolStatusRequest) field.ErrorList {
			if old.Status != nil {
				return apivalidation.ValidateImmutableField(r.Status, old.Status, field.NewPath("status"))
			}
			if r.Status == nil {
				return nil
			}
			return metav1validation.ValidateConditions(r.Status.Conditions, field.NewPath("status", "conditions"))
		},
	},

	Columns: poolColumns,
}
