package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// PodDisruptionBudget says how many of some pods must stay.
var PodDisruptionBudget = api.Of[policyv1.PodDisruptionBudget]{
	Group: policyv1.GroupName, Version: "v1", Kind: "PodDisruptionBudget", Resource: "poddisruptionbudgets",
	FreeFinalizers:        true,
	NameValidation:        validate.PathSegment,
	ShortNames:            []string{"pdb"},
	Generation:            true,
	NoUnconditionalUpdate: true,

	Validate: validateBudget,
	Status:   &api.Status[policyv1.PodDisruptionBudget]{Validate: validateBudgetStatus},

	Columns: []api.Column[policyv1.PodDisruptionBudget]{
		print.Name[policyv1.PodDisruptionBudget](),
		{
			Name: "Min Available", Description: "The minimum number of pods that must be available.",
			Value: func(b *policyv1.PodDisruptionBudget) any { return amount(b.Spec.MinAvailable) },
		},
		{
			Name: "Max Unavailable", Description: "The maximum number of pods that may be unavailable.",
			Value: func(b *policyv1.PodDisruptionBudget) any { return amount(b.Spec.MaxUnavailable) },
		},
		{
			Name: "Allowed Disruptions", Type: "integer", Description: "Calculated number of pods that may be disrupted at this time.",
			Value: func(b *policyv1.PodDisruptionBudget) any { return int64(b.Status.DisruptionsAllowed) },
		},
		print.Age[policyv1.PodDisruptionBudget](),
	},
}

func amount(v *intstr.IntOrString) string {
	if v == nil {
		return "N/A"
	}
	return v.String()
}

func validateBudget(b *policyv1.PodDisruptionBudget) field.ErrorList {
	var e validate.Errors
	spec, fld := &b.Spec, field.NewPath("spec")
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		e.Invalid(fld, spec, "minAvailable and maxUnavailable cannot be both set")
	}
	e.IntOrPercent(fld.Child("minAvailable"), spec.MinAvailable)
	e.AtMostAll(fld.Child("minAvailable"), spec.MinAvailable)
	e.IntOrPercent(fld.Child("maxUnavailable"), spec.MaxUnavailable)
	e.AtMostAll(fld.Child("maxUnavailable"), spec.MaxUnavailable)
	e.Add(metav1validation.ValidateLabelSelector(spec.Selector, metav1validation.LabelSelectorValidationOptions{}, fld.Child("selector")))
	if p := spec.UnhealthyPodEvictionPolicy; p != nil {
		validate.Enum(&e, fld.Child("unhealthyPodEvictionPolicy"), *p, policyv1.AlwaysAllow, policyv1.IfHealthyBudget)
	}
	return e.List()
}

func validateBudgetStatus(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	var e validate.Errors
	s, fld := &b.Status, field.NewPath("status")
	e.Add(metav1validation.ValidateConditions(s.Conditions, fld.Child("conditions")))
	e.Nonnegative(fld.Child("disruptionsAllowed"), int64(s.DisruptionsAllowed))
	e.Nonnegative(fld.Child("currentHealthy"), int64(s.CurrentHealthy))
	e.Nonnegative(fld.Child("desiredHealthy"), int64(s.DesiredHealthy))
	e.Nonnegative(fld.Child("expectedPods"), int64(s.ExpectedPods))
	return e.List()
}
