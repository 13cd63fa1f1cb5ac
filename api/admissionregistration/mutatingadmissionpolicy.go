package admissionregistration

import (
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// MutatingAdmissionPolicy changes objects by CEL expressions.
var MutatingAdmissionPolicy = api.Of[admissionregistrationv1.MutatingAdmissionPolicy]{
	Group: admissionregistrationv1.GroupName, Version: "v1", Kind: "MutatingAdmissionPolicy", Resource: "mutatingadmissionpolicies",
	Categories:            []string{"api-extensions"},
	FreeFinalizers:        true,
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,
	Generation:            true,

	Default: func(p *admissionregistrationv1.MutatingAdmissionPolicy) {
		set(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
		defaultMatch(p.Spec.MatchConstraints)
	},
	Validate: validateMutatingPolicy,

	Columns: []api.Column[admissionregistrationv1.MutatingAdmissionPolicy]{
		print.Name[admissionregistrationv1.MutatingAdmissionPolicy](),
		countColumn("Mutations", "Mutation indicates the number of mutations rules defined in this configuration",
			func(p *admissionregistrationv1.MutatingAdmissionPolicy) int { return len(p.Spec.Mutations) }),
		paramKindColumn(func(p *admissionregistrationv1.MutatingAdmissionPolicy) *admissionregistrationv1.ParamKind {
			return p.Spec.ParamKind
		}),
		print.Age[admissionregistrationv1.MutatingAdmissionPolicy](),
	},
}

func validateMutatingPolicy(p *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
	var e validate.Errors
	s, fld := &p.Spec, field.NewPath("spec")
	checkPolicyFailure(&e, s.FailurePolicy, fld.Child("failurePolicy"))
	checkParamKind(&e, s.ParamKind, fld.Child("paramKind"))
	checkConstraints(&e, s.MatchConstraints, fld.Child("matchConstraints"))
	checkMutable(&e, s.MatchConstraints, fld.Child("matchConstraints"))
	checkMatchConditions(&e, s.MatchConditions, fld.Child("matchConditions"))
	checkVariables(&e, s.Variables, fld.Child("variables"))
	if len(s.Mutations) == 0 {
		e.Required(fld.Child("mutations"), "mutations must contain at least one item")
	}
	for i := range s.Mutations {
		checkMutation(&e, &s.Mutations[i], fld.Child("mutations").Index(i))
	}
	validate.RequiredEnum(&e, fld.Child("reinvocationPolicy"), s.ReinvocationPolicy,
		admissionregistrationv1.IfNeededReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
	return e.List()
}

func checkMutation(e *validate.Errors, m *admissionregistrationv1.Mutation, fld *field.Path) {
	apply, patch := fld.Child("applyConfiguration"), fld.Child("jsonPatch")
	switch m.PatchType {
	case "":
		e.Required(fld.Child("patchType"), "")
	case admissionregistrationv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			e.Required(patch, "must be specified when patchType is JSONPatch")
		} else {
			e.Text(patch.Child("expression"), strings.TrimSpace(m.JSONPatch.Expression))
		}
		if m.ApplyConfiguration != nil {
			e.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")
		}
	case admissionregistrationv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			e.Required(apply, "must be specified when patchType is ApplyConfiguration")
		} else {
			e.Text(apply.Child("expression"), strings.TrimSpace(m.ApplyConfiguration.Expression))
		}
		if m.JSONPatch != nil {
			e.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")
		}
	default:
		validate.Enum(e, fld.Child("patchType"), m.PatchType,
			admissionregistrationv1.PatchTypeApplyConfiguration, admissionregistrationv1.PatchTypeJSONPatch)
	}
}
