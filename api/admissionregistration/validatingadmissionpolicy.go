package admissionregistration

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxAuditAnnotations = 20
	// maxAnnotationExpression is half of what an annotation may hold, since
	// values are often longer than their expressions. Bytes.
	maxAnnotationExpression = 5 * 1024
)

// ValidatingAdmissionPolicy accepts or refuses objects by CEL expressions.
var ValidatingAdmissionPolicy = api.Of[admissionregistrationv1.ValidatingAdmissionPolicy]{
	Group: admissionregistrationv1.GroupName, Version: "v1", Kind: "ValidatingAdmissionPolicy", Resource: "validatingadmissionpolicies",
	Categories:            []string{"api-extensions"},
	FreeFinalizers:        true,
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,
	Generation:            true,

	Default: func(p *admissionregistrationv1.ValidatingAdmissionPolicy) {
		set(&p.Spec.FailurePolicy, admissionregistrationv1.Fail)
		defaultMatch(p.Spec.MatchConstraints)
	},
	Validate: validateValidatingPolicy,
	Status: &api.Status[admissionregistrationv1.ValidatingAdmissionPolicy]{
		KeepMetadata: true,
		Validate: func(p, _ *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
			var e validate.Errors
			if t := p.Status.TypeChecking; t != nil {
				for i, w := range t.ExpressionWarnings {
					fld := field.NewPath("status", "typeChecking", "expressionWarnings").Index(i)
					e.Text(fld.Child("warning"), w.Warning)
					e.Text(fld.Child("fieldRef"), strings.TrimSpace(w.FieldRef))
				}
			}
			e.Add(metav1validation.ValidateConditions(p.Status.Conditions, field.NewPath("status", "conditions")))
			return e.List()
		},
	},

	Columns: []api.Column[admissionregistrationv1.ValidatingAdmissionPolicy]{
		print.Name[admissionregistrationv1.ValidatingAdmissionPolicy](),
		countColumn("Validations", "Validations indicates the number of validation rules defined in this configuration",
			func(p *admissionregistrationv1.ValidatingAdmissionPolicy) int { return len(p.Spec.Validations) }),
		paramKindColumn(func(p *admissionregistrationv1.ValidatingAdmissionPolicy) *admissionregistrationv1.ParamKind {
			return p.Spec.ParamKind
		}),
		print.Age[admissionregistrationv1.ValidatingAdmissionPolicy](),
	},
}

func validateValidatingPolicy(p *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	var e validate.Errors
	s, fld := &p.Spec, field.NewPath("spec")
	checkPolicyFailure(&e, s.FailurePolicy, fld.Child("failurePolicy"))
	checkParamKind(&e, s.ParamKind, fld.Child("paramKind"))
	checkConstraints(&e, s.MatchConstraints, fld.Child("matchConstraints"))
	checkMatchConditions(&e, s.MatchConditions, fld.Child("matchConditions"))
	checkVariables(&e, s.Variables, fld.Child("variables"))
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		const missing = "validations or auditAnnotations must contain at least one item"
		e.Required(fld.Child("validations"), missing)
		e.Required(fld.Child("auditAnnotations"), missing)
		return e.List()
	}
	for i := range s.Validations {
		checkValidation(&e, &s.Validations[i], fld.Child("validations").Index(i))
	}
	checkAnnotations(&e, p.Name, s.AuditAnnotations, fld.Child("auditAnnotations"))
	return e.List()
}

func checkValidation(e *validate.Errors, v *admissionregistrationv1.Validation, fld *field.Path) {
	if strings.TrimSpace(v.Expression) == "" {
		e.Required(fld.Child("expression"), "expression is not specified")
	}
	if v.MessageExpression != "" && strings.TrimSpace(v.MessageExpression) == "" {
		e.Invalid(fld.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified")
	}
	message := strings.TrimSpace(v.Message)
	if v.Message != "" && message == "" {
		e.Invalid(fld.Child("message"), v.Message, "must be non-empty if specified")
	} else if strings.ContainsAny(message, "\n\r") {
		e.Invalid(fld.Child("message"), v.Message, "must not contain line breaks")
	}
	if v.Reason != nil {
		validate.Enum(e, fld.Child("reason"), *v.Reason,
			metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)
	}
}

func checkAnnotations(e *validate.Errors, policy string, annotations []admissionregistrationv1.AuditAnnotation, fld *field.Path) {
	if len(annotations) > maxAuditAnnotations {
		e.Invalid(fld, annotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations))
	}
	keys := sets.New[string]()
	for i, a := range annotations {
		p := fld.Index(i)
		if policy == "" {
			e.Invalid(p.Child("key"), a.Key, "requires metadata.name be non-empty")
		} else {
			e.QualifiedName(p.Child("key"), policy+"/"+a.Key)
		}
		switch text := strings.TrimSpace(a.ValueExpression); {
		case text == "":
			e.Required(p.Child("valueExpression"), "valueExpression is not specified")
		case len(text) > maxAnnotationExpression:
			e.Required(p.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxAnnotationExpression))
		}
		if keys.Has(a.Key) {
			e.Duplicate(p.Child("key"), a.Key)
		}
		keys.Insert(a.Key)
	}
}
