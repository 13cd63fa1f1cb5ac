package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ValidatingAdmissionPolicyBinding puts a policy in force for some objects.
var ValidatingAdmissionPolicyBinding = api.Of[admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
	Group: admissionregistrationv1.GroupName, Version: "v1", Kind: "ValidatingAdmissionPolicyBinding", Resource: "validatingadmissionpolicybindings",
	Categories:            []string{"api-extensions"},
	FreeFinalizers:        true,
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,
	Generation:            true,

	Default: func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
		defaultMatch(b.Spec.MatchResources)
	},
	Validate: func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
		var e validate.Errors
		fld := field.NewPath("spec")
		checkPolicyName(&e, b.Spec.PolicyName, fld.Child("policyName"))
		checkParamRef(&e, b.Spec.ParamRef, fld.Child("paramRef"))
		checkMatch(&e, b.Spec.MatchResources, fld.Child("matchResources"))
		checkActions(&e, b.Spec.ValidationActions, fld.Child("validationActions"))
		return e.List()
	},

	Columns: []api.Column[admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
		print.Name[admissionregistrationv1.ValidatingAdmissionPolicyBinding](),
		policyColumn(func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }),
		paramRefColumn(func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) *admissionregistrationv1.ParamRef {
			return b.Spec.ParamRef
		}),
		print.Age[admissionregistrationv1.ValidatingAdmissionPolicyBinding](),
	},
}

func checkActions(e *validate.Errors, actions []admissionregistrationv1.ValidationAction, fld *field.Path) {
	seen := sets.New[admissionregistrationv1.ValidationAction]()
	for i, a := range actions {
		validate.Enum(e, fld.Index(i), a, admissionregistrationv1.Audit, admissionregistrationv1.Deny, admissionregistrationv1.Warn)
		if seen.Has(a) {
			e.Duplicate(fld.Index(i), a)
		}
		seen.Insert(a)
	}
	if seen.HasAll(admissionregistrationv1.Deny, admissionregistrationv1.Warn) {
		e.Invalid(fld, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)")
	}
	if len(seen) == 0 {
		e.Required(fld, "")
	}
}
