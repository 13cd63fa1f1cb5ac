package storage

import (
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const isDefaultAttributes = "storage.alpha.kubernetes.io/is-default-class"

// VolumeAttributesClass is a set of properties that a volume can change to.
var VolumeAttributesClass = api.Of[storagev1.VolumeAttributesClass]{
	Group: storagev1.GroupName, Version: "v1", Kind: "VolumeAttributesClass", Resource: "volumeattributesclasses",
	ChangeFirst:   true,
	ReturnDeleted: true,
	ShortNames:    []string{"vac"},
	ClusterScoped: true,

	Validate: func(c *storagev1.VolumeAttributesClass) field.ErrorList {
		var e validate.Errors
		checkProvisioner(&e, c.DriverName, field.NewPath("driverName"))
		if len(c.Parameters) == 0 {
			e.Required(field.NewPath("parameters"), "must contain at least one key/value pair")
		}
		checkParameters(&e, c.Parameters, field.NewPath("parameters"))
		return e.List()
	},
	ValidateUpdate: func(c, old *storagev1.VolumeAttributesClass) field.ErrorList {
		var e validate.Errors
		if c.DriverName != old.DriverName {
			e.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden.")
		}
		if !apiequality.Semantic.DeepEqual(c.Parameters, old.Parameters) {
			e.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden.")
		}
		return e.List()
	},

	Columns: []api.Column[storagev1.VolumeAttributesClass]{
		{
			Name: "Name", Format: "name", Description: print.NameDoc(),
			Value: func(c *storagev1.VolumeAttributesClass) any {
				if c.Annotations[isDefaultAttributes] == "true" {
					return c.Name + " (default)"
				}
				return c.Name
			},
		},
		{
			Name: "DriverName", Description: storagev1.VolumeAttributesClass{}.SwaggerDoc()["driverName"],
			Value: func(c *storagev1.VolumeAttributesClass) any { return c.DriverName },
		},
		print.Age[storagev1.VolumeAttributesClass](),
	},
}
