package autoscaling

import (
	"math"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxPeriodSeconds = 1800
	maxWindowSeconds = 3600
)

func validateAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var e validate.Errors
	s, fld := &a.Spec, field.NewPath("spec")
	if s.MinReplicas != nil && *s.MinReplicas < 0 {
		e.Invalid(fld.Child("minReplicas"), *s.MinReplicas, "must be greater than or equal to 0")
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		e.Invalid(fld.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	checkReference(&e, s.ScaleTargetRef, fld.Child("scaleTargetRef"))
	fromOutside := false // metrics that are there while no pod is
	for i := range s.Metrics {
		checkMetric(&e, &s.Metrics[i], fld.Child("metrics").Index(i))
		switch s.Metrics[i].Type {
		case autoscalingv2.ObjectMetricSourceType, autoscalingv2.ExternalMetricSourceType:
			fromOutside = true
		}
	}
	if s.MinReplicas != nil && *s.MinReplicas == 0 && !fromOutside {
		e.Forbidden(fld.Child("metrics"), "must specify at least one Object or External metric to support scaling to zero replicas")
	}
	if s.Behavior != nil {
		checkRules(&e, s.Behavior.ScaleUp, fld.Child("behavior", "scaleUp"))
		checkRules(&e, s.Behavior.ScaleDown, fld.Child("behavior", "scaleDown"))
	}
	return e.List()
}

// checkNew checks a new autoscaler, checkChange one that changes: what
// Kubernetes tells last.
func checkNew(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return append(checkScaled(a), checkMost(a)...)
}

func checkChange(a, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	return append(checkNewScaled(a, old), checkMost(a)...)
}

// checkMost checks that there is a limit.
func checkMost(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var e validate.Errors
	p := field.NewPath("spec", "maxReplicas")
	switch most := a.Spec.MaxReplicas; {
	case most == 0:
		e.Required(p, "")
	case most < 0:
		e.Invalid(p, most, "must be greater than or equal to 1")
	}
	return e.List()
}

// checkScaled checks the version of what is scaled, which only a
// ReplicationController has no group in.
func checkScaled(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	ref, fld := a.Spec.ScaleTargetRef, field.NewPath("spec", "scaleTargetRef", "apiVersion")
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	switch {
	case err != nil:
		return field.ErrorList{field.Invalid(fld, ref.APIVersion, err.Error())}
	case gv.Group == "" && ref.Kind != "ReplicationController":
		return field.ErrorList{field.Invalid(fld, ref.APIVersion, "apiVersion must specify API group")}
	}
	return nil
}

// checkNewScaled is checkScaled for a target of another kind than before.
func checkNewScaled(a, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	if now, was := a.Spec.ScaleTargetRef, old.Spec.ScaleTargetRef; now.APIVersion == was.APIVersion && now.Kind == was.Kind {
		return nil
	}
	return checkScaled(a)
}

func checkReference(e *validate.Errors, r autoscalingv2.CrossVersionObjectReference, fld *field.Path) {
	checkSegment(e, r.Kind, "", fld.Child("kind"))
	checkSegment(e, r.Name, "", fld.Child("name"))
}

// checkSegment checks what is to stand in a URL.
func checkSegment(e *validate.Errors, value, missing string, fld *field.Path) {
	if value == "" {
		e.Required(fld, missing)
		return
	}
	e.Messages(fld, value, validate.PathSegment(value, false))
}

// atMost reports a number that is not from lo to hi; the two messages are of
// Kubernetes.
func atMost(e *validate.Errors, fld *field.Path, n, lo, hi int32, below string) {
	if n < lo {
		e.Invalid(fld, n, below)
	} else if n > hi {
		e.Invalidf(fld, n, "must be less than or equal to %d", hi)
	}
}

func checkRules(e *validate.Errors, r *autoscalingv2.HPAScalingRules, fld *field.Path) {
	if r == nil {
		return
	}
	const negative = "must be greater than or equal to zero"
	if w := r.StabilizationWindowSeconds; w != nil {
		atMost(e, fld.Child("stabilizationWindowSeconds"), *w, 0, maxWindowSeconds, negative)
	}
	if r.SelectPolicy != nil {
		validate.Enum(e, fld.Child("selectPolicy"), *r.SelectPolicy,
			autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	}
	if len(r.Policies) == 0 {
		e.Required(fld.Child("policies"), "must specify at least one Policy")
	}
	for i, p := range r.Policies {
		at := fld.Child("policies").Index(i)
		validate.Enum(e, at.Child("type"), p.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		atMost(e, at.Child("value"), p.Value, 1, math.MaxInt32, validate.NotPositive)
		atMost(e, at.Child("periodSeconds"), p.PeriodSeconds, 1, maxPeriodSeconds, validate.NotPositive)
	}
	if r.Tolerance != nil && r.Tolerance.Sign() < 0 {
		e.Invalid(fld.Child("tolerance"), r.Tolerance, apivalidation.IsNegativeErrorMsg)
	}
}
