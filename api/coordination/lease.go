package coordination

import (
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Lease says who holds something, and until when.
var Lease = api.Of[coordinationv1.Lease]{
	Group: coordinationv1.GroupName, Version: "v1", Kind: "Lease", Resource: "leases",
	FreeFinalizers:        true,
	CreateOnUpdate:        true,
	NoUnconditionalUpdate: true,

	// Both are for the coordinated election of leaders, which is off as on
	// Kubernetes.
	PrepareCreate: func(l *coordinationv1.Lease) { l.Spec.Strategy, l.Spec.PreferredHolder = nil, nil },
	PrepareUpdate: func(l, old *coordinationv1.Lease) {
		if old.Spec.Strategy == nil {
			l.Spec.Strategy = nil
		}
		if old.Spec.PreferredHolder == nil {
			l.Spec.PreferredHolder = nil
		}
	},
	Validate: validateLease,

	Columns: []api.Column[coordinationv1.Lease]{
		print.Name[coordinationv1.Lease](),
		{
			Name: "Holder", Description: coordinationv1.LeaseSpec{}.SwaggerDoc()["holderIdentity"],
			Value: func(l *coordinationv1.Lease) any { return ptr.Deref(l.Spec.HolderIdentity, "") },
		},
		print.Age[coordinationv1.Lease](),
	},
}

func validateLease(l *coordinationv1.Lease) field.ErrorList {
	var e validate.Errors
	spec, fld := &l.Spec, field.NewPath("spec")
	if n := spec.LeaseDurationSeconds; n != nil && *n <= 0 {
		e.Invalid(fld.Child("leaseDurationSeconds"), *n, "must be greater than 0")
	}
	if n := spec.LeaseTransitions; n != nil && *n < 0 {
		e.Invalid(fld.Child("leaseTransitions"), *n, "must be greater than or equal to 0")
	}
	if s := spec.Strategy; s != nil {
		checkStrategy(&e, *s, fld)
	}
	if ptr.Deref(spec.PreferredHolder, "") != "" && ptr.Deref(spec.Strategy, "") == "" {
		e.Forbidden(fld.Child("preferredHolder"), "may only be specified when `strategy` is defined")
	}
	return e.List()
}
