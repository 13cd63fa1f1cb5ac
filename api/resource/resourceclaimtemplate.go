package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ResourceClaimTemplate is what a claim is made of for each pod that names it.
var ResourceClaimTemplate = api.Of[resourcev1.ResourceClaimTemplate]{
	Group: resourcev1.GroupName, Version: "v1", Kind: "ResourceClaimTemplate", Resource: "resourceclaimtemplates",
	ReturnDeleted: true,

	Default:        func(t *resourcev1.ResourceClaimTemplate) { defaultClaim(&t.Spec.Spec) },
	ValidateCreate: func(t *resourcev1.ResourceClaimTemplate) field.ErrorList { return checkTemplate(t, nil) },
	ValidateUpdate: func(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
		if apiequality.Semantic.DeepEqual(t.Spec, old.Spec) {
			return nil // what was stored stays valid
		}
		return checkTemplate(t, old)
	},

	Columns: []api.Column[resourcev1.ResourceClaimTemplate]{print.Name[resourcev1.ResourceClaimTemplate](), print.Age[resourcev1.ResourceClaimTemplate]()},
}

// checkTemplate tells what is wrong with a spec as well as, when there was one
// before, that it may not change at all.
func checkTemplate(t, old *resourcev1.ResourceClaimTemplate) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	e.TemplateMeta(fld.Child("metadata"), &t.Spec.ObjectMeta)
	checkClaim(&e, &t.Spec.Spec, fld.Child("spec"))
	if old != nil {
		e.Add(apivalidation.ValidateImmutableField(t.Spec, old.Spec, fld))
	}
	return e.List()
}
