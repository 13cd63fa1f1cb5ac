package apps

import (
	"encoding/json"
	"fmt"

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
	ValidateCreate: checkRevisionData,
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
	e.Nonnegative(field.NewPath("revision"), r.Revision)
	return e.List()
}

func checkRevisionData(r *appsv1.ControllerRevision) field.ErrorList {
	var e validate.Errors
	var v any
	fld := field.NewPath("data")
	if err := json.Unmarshal(r.Data.Raw, &v); r.Data.Raw != nil && err != nil {
		e.Invalid(fld, "<value omitted>", fmt.Sprintf("error parsing data: %v", err))
	} else if _, isObject := v.(map[string]any); v == nil {
		e.Required(fld, "data is mandatory")
	} else if !isObject {
		e.Required(fld, "data must be a valid JSON object")
	}
	return e.List()
}

func validateControllerRevisionUpdate(r, old *appsv1.ControllerRevision) field.ErrorList {
	return apivalidation.ValidateImmutableField(r.Data, old.Data, field.NewPath("data"))
}
