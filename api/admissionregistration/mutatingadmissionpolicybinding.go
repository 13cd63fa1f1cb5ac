package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// MutatingAdmissionPolicyBinding puts a policy in force for some objects.
var MutatingAdmissionPolicyBinding = api.Of[admissionregistrationv1.MutatingAdmissionPolicyBinding]{
	Group: admissionregistrationv1.GroupName, Version: "v1", Kind: "MutatingAdmissionPolicyBinding", Resource: "mutatingadmissionpolicybindings",
	Categories:            []string{"api-extensions"},
	FreeFinalizers:        true,
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,
	Generation:            true,

	Default: func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) {
		defaultMatch(b.Spec.MatchResources)
	},
	Validate: func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) field.ErrorList {
		var e validate.Errors
		fld := field.NewPath("spec")
		checkPolicyName(&e, b.Spec.PolicyName, fld.Child("policyName"))
		checkParamRef(&e, b.Spec.ParamRef, fld.Child("paramRef"))
		checkMatch(&e, b.Spec.MatchResources, fld.Child("matchResources"))
		checkMutable(&e, b.Spec.MatchResources, fld.Child("matchResources"))
		return e.List()
	},

	Columns: []api.Column[admissionregistrationv1.MutatingAdmissionPolicyBinding]{
		print.Name[admissionregistrationv1.MutatingAdmissionPolicyBinding](),
		policyColumn(func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) string { return b.Spec.PolicyName }),
		paramRefColumn(func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) *admissionregistrationv1.ParamRef {
			return b.Spec.ParamRef
		}),
		print.Age[admissionregistrationv1.MutatingAdmissionPolicyBinding](),
	},
}
