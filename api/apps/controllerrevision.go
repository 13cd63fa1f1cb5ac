package apps

import (
	appsv1 "k8s.io/api/apps/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// ControllerRevision is a state that a StatefulSet or DaemonSet once had.
var ControllerRevision = api.Of[appsv1.ControllerRevision]{
	Group: appsv1.GroupName, Version: "v1", Kind: "ControllerRevision", Resource: "controllerrevisions",

	Validate:       validateControllerRevision,
	ValidateUpdate: validateControllerRevisionUpdate,

	Columns: []api.Column[appsv1.ControllerRevision]{
		print.Name[appsv1.ControllerRevision](),
		{Name: "Controller", Description: "Controller of the object", Value: controllerOf},
		{
			Name: "Revision", Description: appsv1.ControllerRevision{}.SwaggerDoc()["revision"],
			Value: func(r *appsv1.ControllerRevision) any { return r.Revision },
		},
		print.Age[appsv1.ControllerRevision](),
	},
}

// controllerOf names the owner that controls r: "statefulset.apps/web".
func controllerOf(r *appsv1.ControllerRevision) any {
	owner := metav1.GetControllerOf(r)
	if owner == nil {
		return print.None
	}
	gv, err := schema.ParseGroupVersion(owner.APIVersion)
	if err != nil {
		return print.Unknown
	}
	return print.KindName(gv.WithKind(owner.Kind).GroupKind(), owner.Name)
}

func validateControllerRevision(r *appsv1.ControllerRevision) field.ErrorList {
	var e validate.Errors
	if r.Data.Raw == nil && r.Data.Object == nil {
		e.Required(field.NewPath("data"), "data is mandatory")
	}
	e.Nonnegative(field.NewPath("revision"), r.Revision)
	return e.List()
}

func validateControllerRevisionUpdate(r, old *appsv1.ControllerRevision) field.ErrorList {
	return apivalidation.ValidateImmutableField(r.Data, old.Data, field.NewPath("data"))
}
