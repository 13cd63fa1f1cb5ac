package lifecycle

import (
	lifecyclev1alpha1 "k8s.io/api/lifecycle/v1alpha1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// EvictionRequest is somebody's wish that a pod be evicted.
var EvictionRequest = api.Of[lifecyclev1alpha1.EvictionRequest]{
	Group: lifecyclev1alpha1.GroupName, Version: "v1alpha1", Kind: "EvictionRequest", Resource: "evictionrequests",
	Generation:            true,
	NoUnconditionalUpdate: true,

	ValidateCreate: func(r *lifecyclev1alpha1.EvictionRequest) field.ErrorList {
		var e validate.Errors
		fld := field.NewPath("spec")
		checkTarget(&e, fld.Child("target"), (*pod)(r.Spec.Target.Pod))
		checkRequester(&e, fld.Child("requester"), r.Spec.Requester)
		checkIntent(&e, fld.Child("intent"), r.Spec.Intent)
		return e.List()
	},
	ValidateUpdate: func(r, old *lifecyclev1alpha1.EvictionRequest) field.ErrorList {
		var e validate.Errors
		fld := field.NewPath("spec")
		if !ptr.Equal(r.Spec.Target.Pod, old.Spec.Target.Pod) {
			e.Add(immutable(fld.Child("target")))
		}
		if r.Spec.Requester != old.Spec.Requester {
			e.Add(immutable(fld.Child("requester")))
		}
		if r.Spec.Intent != old.Spec.Intent {
			checkIntent(&e, fld.Child("intent"), r.Spec.Intent)
		}
		return e.List()
	},
	Status: &api.Status[lifecyclev1alpha1.EvictionRequest]{
		KeepMetadata: true,
		Validate: func(r, old *lifecyclev1alpha1.EvictionRequest) field.ErrorList {
			var e validate.Errors
			fld := field.NewPath("status")
			checkConditions(&e, fld.Child("conditions"), r.Status.Conditions)
			checkObserved(&e, fld.Child("observedGeneration"), r.Status.ObservedGeneration, old.Status.ObservedGeneration)
			return e.List()
		},
	},

	Columns: []api.Column[lifecyclev1alpha1.EvictionRequest]{
		print.Name[lifecyclev1alpha1.EvictionRequest](),
		requestColumn("Target", "target", func(r *lifecyclev1alpha1.EvictionRequest) string {
			name, _ := targetCells((*pod)(r.Spec.Target.Pod))
			return name
		}),
		requestColumn("Target Type", "target", func(r *lifecyclev1alpha1.EvictionRequest) string {
			_, kind := targetCells((*pod)(r.Spec.Target.Pod))
			return kind
		}),
		{
			Name: "Status", Description: lifecyclev1alpha1.EvictionRequestStatus{}.SwaggerDoc()["conditions"],
			Value: func(r *lifecyclev1alpha1.EvictionRequest) any {
				return summary(r.Status.ObservedGeneration, r.Status.Conditions)
			},
		},
		requestColumn("Requester", "requester", func(r *lifecyclev1alpha1.EvictionRequest) string { return r.Spec.Requester }),
		requestColumn("Intent", "intent", func(r *lifecyclev1alpha1.EvictionRequest) string { return string(r.Spec.Intent) }),
		print.Age[lifecyclev1alpha1.EvictionRequest](),
	},
}

func requestColumn(name, of string, value func(*lifecyclev1alpha1.EvictionRequest) string) api.Column[lifecyclev1alpha1.EvictionRequest] {
	return api.Column[lifecyclev1alpha1.EvictionRequest]{
		Name: name, Description: lifecyclev1alpha1.EvictionRequestSpec{}.SwaggerDoc()[of],
		Value: func(r *lifecyclev1alpha1.EvictionRequest) any { return value(r) },
	}
}

// checkIntent checks what a requester wants: both kinds have the same values.
func checkIntent[T ~string](e *validate.Errors, p *field.Path, intent T) {
	validate.RequiredEnum(e, p, intent, T(lifecyclev1alpha1.EvictionRequestIntentEviction), T(lifecyclev1alpha1.EvictionRequestIntentWithdrawn))
}
