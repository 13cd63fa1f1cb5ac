package scheduling

import (
	"slices"

	schedulingv1alpha3 "k8s.io/api/scheduling/v1alpha3"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// workloadDoc describes the column of the workload that a group is of.
const workloadDoc = "Name of the referenced Workload object"

// PodGroup is a group of pods that are scheduled together.
var PodGroup = api.Of[schedulingv1beta1.PodGroup]{
	Group: schedulingv1beta1.GroupName, Version: "v1beta1", Kind: "PodGroup", Resource: "podgroups",

	Default: func(g *schedulingv1beta1.PodGroup) {
		if g.Spec.DisruptionMode == nil {
			g.Spec.DisruptionMode = &schedulingv1beta1.DisruptionMode{Single: &schedulingv1beta1.SingleDisruptionMode{}}
		}
	},
	ValidateCreate: func(g *schedulingv1beta1.PodGroup) field.ErrorList {
		return checkBeta(schedulingv1alpha3.Validate_PodGroupSpec, field.NewPath("spec"), &g.Spec, nil)
	},
	ValidateUpdate: func(g, old *schedulingv1beta1.PodGroup) field.ErrorList {
		return checkBeta(schedulingv1alpha3.Validate_PodGroupSpec, field.NewPath("spec"), &g.Spec, &old.Spec)
	},
	Status: &api.Status[schedulingv1beta1.PodGroup]{KeepMetadata: true, Validate: checkGroupStatus},

	Columns: []api.Column[schedulingv1beta1.PodGroup]{
		print.Name[schedulingv1beta1.PodGroup](),
		{
			Name: "Policy", Description: schedulingv1beta1.PodGroupSpec{}.SwaggerDoc()["schedulingPolicy"],
			Value: func(g *schedulingv1beta1.PodGroup) any { return policy(g.Spec.SchedulingPolicy.Gang != nil) },
		},
		{
			Name: "Workload", Description: workloadDoc,
			Value: func(g *schedulingv1beta1.PodGroup) any {
				if g.Spec.WorkloadRef == nil {
					return print.None
				}
				return g.Spec.WorkloadRef.WorkloadName
			},
		},
		{
			Name: "Status", Description: "Status of the PodGroup",
			Value: func(g *schedulingv1beta1.PodGroup) any { return summary(g.Status.Conditions) },
		},
		print.Age[schedulingv1beta1.PodGroup](),
	},
}

// policy is how a scheduling policy is printed.
func policy(gang bool) string {
	if gang {
		return "Gang"
	}
	return "Basic"
}

// summary is how a group's conditions are printed.
func summary(conditions []metav1.Condition) string {
	if c := apimeta.FindStatusCondition(conditions, schedulingv1beta1.DisruptionTarget); c != nil {
		return c.Reason
	}
	switch c := apimeta.FindStatusCondition(conditions, schedulingv1beta1.PodGroupInitiallyScheduled); {
	case c == nil:
		return "Pending"
	case c.Status == metav1.ConditionTrue:
		return "Scheduled"
	default:
		return "Unschedulable"
	}
}

func checkGroupStatus(g, old *schedulingv1beta1.PodGroup) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status")
	e.Add(metav1validation.ValidateConditions(g.Status.Conditions, fld.Child("conditions")))
	for i := range g.Status.ResourceClaimStatuses {
		name := g.Status.ResourceClaimStatuses[i].Name
		if !slices.ContainsFunc(g.Spec.ResourceClaims, func(c schedulingv1beta1.PodGroupResourceClaim) bool { return c.Name == name }) {
			e.Invalid(fld.Child("resourceClaimStatuses").Index(i).Child("name"), name, "must match the name of an entry in `spec.resourceClaims`")
		}
	}
	e.Add(checkBeta(schedulingv1alpha3.Validate_PodGroupStatus, fld, &g.Status, &old.Status))
	return e.List()
}
