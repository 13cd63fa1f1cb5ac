package batch

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxPolicyRules    = 20
	maxExitCodes      = 255
	maxConditions     = 20
	maxIndexesText    = 64 * 1024
	onlyOneOf         = "specifying both OnExitCodes and OnPodConditions is not supported"
	oneOf             = "specifying one of OnExitCodes and OnPodConditions is required"
	needsSomeRules    = "at least one rules must be specified when the successPolicy is specified"
	needsSomeCriteria = "at least one of succeededCount or succeededIndexes must be specified"
)

var (
	failureActions = []batchv1.PodFailurePolicyAction{
		batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
		batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore,
	}
	exitCodeOperators = []batchv1.PodFailurePolicyOnExitCodesOperator{
		batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn,
	}
	conditionStatuses = []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
)

func checkFailurePolicy(e *validate.Errors, spec *batchv1.JobSpec, fld *field.Path) {
	rules := fld.Child("rules")
	if n := len(spec.PodFailurePolicy.Rules); n > maxPolicyRules {
		e.TooMany(rules, n, maxPolicyRules)
	}
	containers := sets.New[string]()
	for _, c := range slices.Concat(spec.Template.Spec.Containers, spec.Template.Spec.InitContainers) {
		containers.Insert(c.Name)
	}
	for i := range spec.PodFailurePolicy.Rules {
		rule, p := &spec.PodFailurePolicy.Rules[i], rules.Index(i)
		if checkChoice(e, rule.Action, failureActions, p.Child("action")) &&
			rule.Action == batchv1.PodFailurePolicyActionFailIndex && spec.BackoffLimitPerIndex == nil {
			e.Invalid(p.Child("action"), rule.Action, "requires the backoffLimitPerIndex to be set")
		}
		if rule.OnExitCodes != nil {
			checkExitCodes(e, rule.OnExitCodes, containers, p.Child("onExitCodes"))
		}
		checkConditions(e, rule.OnPodConditions, p.Child("onPodConditions"))
		switch codes, conditions := rule.OnExitCodes != nil, len(rule.OnPodConditions) > 0; {
		case codes && conditions:
			e.Invalid(p, field.OmitValueType{}, onlyOneOf)
		case !codes && !conditions:
			e.Invalid(p, field.OmitValueType{}, oneOf)
		}
	}
}

// checkChoice checks a value without a default, and is true when it is valid.
func checkChoice[T ~string](e *validate.Errors, value T, allowed []T, fld *field.Path) bool {
	if value == "" {
		e.Required(fld, fmt.Sprintf("valid values: %q", allowed))
		return false
	}
	validate.Enum(e, fld, value, allowed...)
	return slices.Contains(allowed, value)
}

func checkConditions(e *validate.Errors, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern, fld *field.Path) {
	if len(patterns) > maxConditions {
		e.TooMany(fld, len(patterns), maxConditions)
	}
	for i, pattern := range patterns {
		e.QualifiedName(fld.Index(i).Child("type"), string(pattern.Type))
		checkChoice(e, pattern.Status, conditionStatuses, fld.Index(i).Child("status"))
	}
}

func checkExitCodes(e *validate.Errors, r *batchv1.PodFailurePolicyOnExitCodesRequirement, containers sets.Set[string], fld *field.Path) {
	checkChoice(e, r.Operator, exitCodeOperators, fld.Child("operator"))
	if r.ContainerName != nil && !containers.Has(*r.ContainerName) {
		e.Invalid(fld.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template")
	}
	values := fld.Child("values")
	if len(r.Values) == 0 {
		e.Invalid(values, r.Values, "at least one value is required")
	} else if len(r.Values) > maxExitCodes {
		e.TooMany(values, len(r.Values), maxExitCodes)
	}
	seen := sets.New[int32]()
	for i, code := range r.Values {
		if r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn && code == 0 {
			e.Invalid(values.Index(i), code, "must not be 0 for the In operator")
		}
		if seen.Has(code) {
			e.Duplicate(values.Index(i), code)
		}
		seen.Insert(code)
	}
	if !slices.IsSorted(r.Values) {
		e.Invalid(values, r.Values, "must be ordered")
	}
}

func checkSuccessPolicy(e *validate.Errors, spec *batchv1.JobSpec, fld *field.Path) {
	rules := fld.Child("rules")
	switch n := len(spec.SuccessPolicy.Rules); {
	case n == 0:
		e.Required(rules, needsSomeRules)
	case n > maxPolicyRules:
		e.TooMany(rules, n, maxPolicyRules)
	}
	if spec.Completions == nil {
		return // reported already, and all that follows is measured by it
	}
	for i := range spec.SuccessPolicy.Rules {
		checkSuccessRule(e, &spec.SuccessPolicy.Rules[i], *spec.Completions, rules.Index(i))
	}
}

func checkSuccessRule(e *validate.Errors, rule *batchv1.SuccessPolicyRule, completions int32, fld *field.Path) {
	if rule.SucceededCount == nil && rule.SucceededIndexes == nil {
		e.Required(fld, needsSomeCriteria)
	}
	var chosen int32
	if s := rule.SucceededIndexes; s != nil {
		p := fld.Child("succeededIndexes")
		if len(*s) > maxIndexesText {
			e.TooLong(p, maxIndexesText)
		}
		set, err := parseIndexes(*s, completions)
		if err != nil {
			e.Invalidf(p, *s, "error parsing succeededIndexes: %s", err)
		}
		chosen = set.count()
	}
	if n := rule.SucceededCount; n != nil {
		p := fld.Child("succeededCount")
		e.Nonnegative(p, int64(*n))
		if *n > completions {
			e.Invalidf(p, *n, "must be less than or equal to %d (the number of specified completions)", completions)
		}
		if rule.SucceededIndexes != nil && *n > chosen {
			e.Invalidf(p, *n, "must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", chosen)
		}
	}
}
