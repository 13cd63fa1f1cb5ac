package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// ResourceClaimTemplate is what a claim is made of for each pod that names it.
var ResourceClaimTemplate = api.Of[resourcev1.ResourceClaimTemplate]{
	Group: resourcev1.GroupName, Version: "v1", Kind: "ResourceClaimTemplate", Resource: "resourceclaimtemplates",
	ReturnDeleted: true,

	Default:        func(t *resourcev1.ResourceClaimTemplate) { defaultClaim(&t.Spec.Spec) },
	ValidateCreate: validateTemplate,
	ValidateUpdate: validateTemplateUpdate,

	Columns: []api.Column[resourcev1.ResourceClaimTemplate]{print.Name[resourcev1.ResourceClaimTemplate](), print.Age[resourcev1.ResourceClaimTemplate]()},
}

func validateTemplate(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
	fld := field.NewPath("spec")
	errs := apivalidation.ValidateAnnotations(t.Spec.Annotations, fld.Child("metadata", "annotations"))
	errs = append(errs, metav1validation.ValidateLabels(t.Spec.Labels, fld.Child("metadata", "labels"))...)
	return append(errs, checkClaim(&t.Spec.Spec, fld.Child("spec"))...)
}

// validateTemplateUpdate tells what is wrong with the new spec as well as that
// it may not change at all, what is twice or unknown last.
func validateTemplateUpdate(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	immutable := apivalidation.ValidateImmutableField(t.Spec, old.Spec, field.NewPath("spec"))
	if len(immutable) == 0 {
		return nil // what was stored stays valid
	}
	var first, last field.ErrorList
	for _, err := range validateTemplate(t) {
		if err.Type == field.ErrorTypeDuplicate || err.Type == field.ErrorTypeNotSupported {
			last = append(last, err)
		} else {
			first = append(first, err)
		}
	}
	return append(append(first, immutable...), last...)
}
