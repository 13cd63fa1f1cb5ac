package scheduling

import (
	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// compositeRules are those of the spec of a CompositePodGroup.
var compositeRules rules[schedulingv1alpha3.CompositePodGroupSpec] = schedulingv1alpha3.Validate_CompositePodGroupSpec

// CompositePodGroup is a group of groups of pods that are scheduled together.
var CompositePodGroup = api.Of[schedulingv1alpha3.CompositePodGroup]{
	Group: schedulingv1alpha3.GroupName, Version: "v1alpha3", Kind: "CompositePodGroup", Resource: "compositepodgroups",

	Default: func(g *schedulingv1alpha3.CompositePodGroup) {
		if g.Spec.DisruptionMode == nil {
			g.Spec.DisruptionMode = &schedulingv1alpha3.CompositeDisruptionMode{Single: &schedulingv1alpha3.SingleCompositeDisruptionMode{}}
		}
	},
	ValidateCreate: func(g *schedulingv1alpha3.CompositePodGroup) field.ErrorList {
		return compositeRules.check(field.NewPath("spec"), &g.Spec, nil)
	},
	ValidateUpdate: func(g, old *schedulingv1alpha3.CompositePodGroup) field.ErrorList {
		return compositeRules.check(field.NewPath("spec"), &g.Spec, &old.Spec)
	},
	Status: &api.Status[schedulingv1alpha3.CompositePodGroup]{
		KeepMetadata: true,
		Validate: func(g, _ *schedulingv1alpha3.CompositePodGroup) field.ErrorList {
			return metav1validation.ValidateConditions(g.Status.Conditions, field.NewPath("status", "conditions"))
		},
	},

	Columns: []api.Column[schedulingv1alpha3.CompositePodGroup]{
		print.Name[schedulingv1alpha3.CompositePodGroup](),
		{
			Name: "Policy", Description: schedulingv1alpha3.CompositePodGroupSpec{}.SwaggerDoc()["schedulingPolicy"],
			Value: func(g *schedulingv1alpha3.CompositePodGroup) any { return policy(g.Spec.SchedulingPolicy.Gang != nil) },
		},
		{
			Name: "Workload", Description: workloadDoc,
			Value: func(g *schedulingv1alpha3.CompositePodGroup) any {
				if g.Spec.WorkloadRef == nil {
					return print.None
				}
				return g.Spec.WorkloadRef.WorkloadName
			},
		},
		print.Age[schedulingv1alpha3.CompositePodGroup](),
	},
}
