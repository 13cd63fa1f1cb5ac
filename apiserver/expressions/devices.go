package expressions

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	dracel "k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
)

// attachDevices compiles the expressions that choose devices. Those of claims
// cannot change; a class may keep what it has.
func attachDevices(k *api.Kind) {
	create, update := k.Validate, k.ValidateUpdate
	k.Validate = func(ctx context.Context, obj runtime.Object) field.ErrorList {
		errs := create(ctx, obj)
		if m, ok := obj.(interface{ GetResourceVersion() string }); ok && m.GetResourceVersion() != "" {
			return errs
		}
		return append(errs, checkDevices(obj, nil)...)
	}
	k.ValidateUpdate = func(ctx context.Context, obj, old runtime.Object) field.ErrorList {
		return append(update(ctx, obj, old), checkDevices(obj, old)...)
	}
}

// devices compiles what one object says of devices.
type devices struct {
	stored sets.Set[string]
	cost   uint64 // of derived attributes, together
	errs   field.ErrorList
}

func checkDevices(obj, old runtime.Object) field.ErrorList {
	d := &devices{stored: sets.New[string]()}
	switch o := obj.(type) {
	case *resourcev1.DeviceClass:
		if before, ok := old.(*resourcev1.DeviceClass); ok {
			for _, s := range before.Spec.Selectors {
				d.stored.Insert(ptr.Deref(s.CEL, resourcev1.CELDeviceSelector{}).Expression)
			}
		}
		d.selectors(o.Spec.Selectors, field.NewPath("spec", "selectors"))
	case *resourcev1.ResourceClaim:
		if old == nil {
			d.claim(&o.Spec.Devices, field.NewPath("spec", "devices"))
		}
	case *resourcev1.ResourceClaimTemplate:
		if old == nil {
			d.claim(&o.Spec.Spec.Devices, field.NewPath("spec", "spec", "devices"))
		}
	}
	return d.errs
}

func (d *devices) claim(c *resourcev1.DeviceClaim, fld *field.Path) {
	// What is too long to check is refused for that.
	for i, r := range c.Requests[:min(len(c.Requests), resourcev1.DeviceRequestsMaxSize)] {
		p := fld.Child("requests").Index(i)
		if x := r.Exactly; x != nil {
			d.selectors(x.Selectors, p.Child("exactly", "selectors"))
			d.derived(x.DerivedAttributes, p.Child("exactly", "derivedAttributes"))
		}
		for j, x := range r.FirstAvailable[:min(len(r.FirstAvailable), resourcev1.FirstAvailableDeviceRequestMaxSize)] {
			d.selectors(x.Selectors, p.Child("firstAvailable").Index(j).Child("selectors"))
			d.derived(x.DerivedAttributes, p.Child("firstAvailable").Index(j).Child("derivedAttributes"))
		}
	}
	if d.cost > resourcev1.DeviceClaimDerivedAttributeCELMaxCost {
		d.errs = append(d.errs, field.Forbidden(fld, "too complex, total cost of derived attribute CEL expressions in the claim exceeds cost limit"))
	}
}

func (d *devices) selectors(list []resourcev1.DeviceSelector, fld *field.Path) {
	for i, s := range list[:min(len(list), resourcev1.DeviceSelectorsMaxSize)] {
		if s.CEL != nil {
			d.compile(s.CEL.Expression, false, fld.Index(i).Child("cel", "expression"))
		}
	}
}

func (d *devices) derived(list []resourcev1.DeviceDerivedAttribute, fld *field.Path) {
	for i, a := range list[:min(len(list), resourcev1.DeviceDerivedAttributesMaxSize)] {
		if a.Expression != "" {
			d.cost += d.compile(a.Expression, true, fld.Index(i).Child("expression"))
		}
	}
}

// compile reports an expression that does not compile or costs too much, and
// gives what it costs.
func (d *devices) compile(expression string, derived bool, fld *field.Path) uint64 {
	if d.stored.Has(expression) || len(expression) > resourcev1.CELSelectorExpressionMaxLength {
		return 0
	}
	result := dracel.GetCompiler(dracel.Features{EnableConsumableCapacity: true}).CompileCELExpression(expression, dracel.Options{
		EnvType: ptr.To(environment.NewExpressions), DerivedAttribute: derived,
	})
	if result.Error != nil {
		d.errs = append(d.errs, fault(fld, expression, result.Error))
		return 0
	}
	if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		d.errs = append(d.errs, field.Forbidden(fld, "too complex, exceeds cost limit"))
	}
	return result.MaxCost
}

func fault(fld *field.Path, expression string, err *cel.Error) *field.Error {
	switch err.Type {
	case cel.ErrorTypeRequired:
		return field.Required(fld, err.Detail)
	case cel.ErrorTypeInvalid:
		return field.Invalid(fld, expression, err.Detail)
	}
	return field.InternalError(fld, err)
}
