package resource

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	apivalidate "k8s.io/apimachinery/pkg/api/validate"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// DeviceClass is a sort of devices, which claims name.
var DeviceClass = api.Of[resourcev1.DeviceClass]{
	Group: resourcev1.GroupName, Version: "v1", Kind: "DeviceClass", Resource: "deviceclasses",
	ReturnDeleted: true,
	ClusterScoped: true,
	Generation:    true,

	NameValidation: validate.LongName,
	ValidateCreate: func(c *resourcev1.DeviceClass) field.ErrorList { return checkClass(c, &resourcev1.DeviceClass{}) },
	ValidateUpdate: checkClass,

	Columns: []api.Column[resourcev1.DeviceClass]{print.Name[resourcev1.DeviceClass](), print.Age[resourcev1.DeviceClass]()},
}

// checkClass lets configurations pass that were there before limits on them
// were.
func checkClass(c, old *resourcev1.DeviceClass) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("spec")
	checkSelectors(&e, c.Spec.Selectors, fld.Child("selectors"))
	stored := apiequality.Semantic.DeepEqual(c.Spec.Config, old.Spec.Config)
	each(&e, c.Spec.Config, resourcev1.DeviceConfigMaxSize, fld.Child("config"), func(config *resourcev1.DeviceClassConfiguration, p *field.Path) {
		checkConfiguration(&e, &config.DeviceConfiguration, stored, p)
	})
	if name := c.Spec.ExtendedResourceName; name != nil {
		e.Declared().Add(apivalidate.ExtendedResourceName(context.Background(), operation.Operation{}, fld.Child("extendedResourceName"), name, nil))
	}
	return e.List()
}
