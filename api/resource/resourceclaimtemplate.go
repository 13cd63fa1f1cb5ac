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

	Default: func(t *resourcev1.ResourceClaimTemplate) { defaultClaim(&t.Spec.Spec) },
	ValidateCreate: func(t *resourcev1.ResourceClaimTemplate) field.ErrorList {
		fld := field.NewPath("spec")
		errs := apivalidation.ValidateAnnotations(t.Spec.Annotations, fld.Child("metadata", "annotations"))
		errs = append(errs, metav1validation.ValidateLabels(t.Spec.Labels, fld.Child("metadata", "labels"))...)
		return append(errs, checkClaim(&t.Spec.Spec, fld.Child("spec"))...)
	},
	ValidateUpdate: func(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
		return apivalidation.ValidateImmutableField(t.Spec, old.Spec, field.NewPath("spec"))
	},

	Columns: []api.Column[resourcev1.ResourceClaimTemplate]{print.Name[resourcev1.ResourceClaimTemplate](), print.Age[resourcev1.ResourceClaimTemplate]()},
}
