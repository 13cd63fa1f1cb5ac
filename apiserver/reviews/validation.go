package reviews

import (
	"fmt"

	authorizationv1 "k8s.io/api/authorization/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func checkAccess(r *authorizationv1.SubjectAccessReview) field.ErrorList {
	return append(checkSpec(&r.Spec), checkMetadata(r.ObjectMeta, "must be empty")...)
}

func checkSelfAccess(r *authorizationv1.SelfSubjectAccessReview) field.ErrorList {
	errs := checkOne(r.Spec.ResourceAttributes, r.Spec.NonResourceAttributes)
	return append(append(errs, checkSelectors(r.Spec.ResourceAttributes)...), checkMetadata(r.ObjectMeta, "must be empty")...)
}

func checkLocalAccess(r *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	meta := r.ObjectMeta
	meta.Namespace = ""
	errs := append(checkSpec(&r.Spec), checkMetadata(meta, "must be empty except for namespace")...)
	if a := r.Spec.ResourceAttributes; a != nil && a.Namespace != r.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec", "resourceAttributes", "namespace"), a.Namespace, "must match metadata.namespace"))
	}
	if n := r.Spec.NonResourceAttributes; n != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec", "nonResourceAttributes"), n, "disallowed on this kind of request"))
	}
	return errs
}

func checkSpec(s *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := checkOne(s.ResourceAttributes, s.NonResourceAttributes)
	if s.User == "" && len(s.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), s.User, "at least one of user or group must be specified"))
	}
	return append(errs, checkSelectors(s.ResourceAttributes)...)
}

// checkOne wants the question to be of a resource or of another path.
func checkOne(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	if (r == nil) != (n == nil) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("spec"), n, "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
}

// checkMetadata wants nothing but who manages the fields, which the server sets.
func checkMetadata(m metav1.ObjectMeta, detail string) field.ErrorList {
	bare := m
	bare.ManagedFields = nil
	if apiequality.Semantic.DeepEqual(bare, metav1.ObjectMeta{}) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), m, detail)}
}

// checkSelectors checks what a list or watch is narrowed by. Operators of
// clients that are newer are let in.
func checkSelectors(r *authorizationv1.ResourceAttributes) field.ErrorList {
	var errs field.ErrorList
	if r == nil {
		return nil
	}
	fld := field.NewPath("spec", "resourceAttributes")
	if s := r.FieldSelector; s != nil {
		p := fld.Child("fieldSelector")
		errs = append(errs, checkForms(s.RawSelector, len(s.Requirements), p)...)
		for i, q := range s.Requirements {
			errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(q,
				metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, p.Child("requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		p := fld.Child("labelSelector")
		errs = append(errs, checkForms(s.RawSelector, len(s.Requirements), p)...)
		for i, q := range s.Requirements {
			errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(q,
				metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}, p.Child("requirements").Index(i))...)
		}
	}
	return errs
}

// checkForms wants a selector in one of its two forms.
func checkForms(raw string, requirements int, p *field.Path) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(p.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(p.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", p))}
	}
	return nil
}
