package resource

import (
	resourcev1 "k8s.io/api/resource/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// effects are what a taint may do to pods.
var effects = []resourcev1.DeviceTaintEffect{
	resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone,
}

// checkSelectors checks expressions that choose devices. Compiling them is
// left to whoever can.
func checkSelectors(e *validate.Errors, selectors []resourcev1.DeviceSelector, fld *field.Path) {
	each(e, selectors, resourcev1.DeviceSelectorsMaxSize, fld, func(s *resourcev1.DeviceSelector, p *field.Path) {
		if s.CEL == nil {
			e.Required(p.Child("cel"), "")
		} else if len(s.CEL.Expression) > resourcev1.CELSelectorExpressionMaxLength {
			e.TooLong(p.Child("cel", "expression"), resourcev1.CELSelectorExpressionMaxLength)
		}
	})
}

// checkConfiguration checks what a driver is told about devices.
func checkConfiguration(e *validate.Errors, c *resourcev1.DeviceConfiguration, stored bool, fld *field.Path) {
	p := fld.Child("opaque")
	if c.Opaque == nil {
		e.Required(p, "")
		return
	}
	checkDriver(e, c.Opaque.Driver, p.Child("driver"))
	checkRaw(e, c.Opaque.Parameters.Raw, stored, resourcev1.OpaqueParametersMaxLength, p.Child("parameters"))
}

func checkTaint(e *validate.Errors, t *resourcev1.DeviceTaint, fld *field.Path) {
	e.Add(metav1validation.ValidateLabelName(t.Key, fld.Child("key")))
	checkLabelValue(e, t.Value, fld.Child("value"))
	validate.RequiredEnum(e.Declared(), fld.Child("effect"), t.Effect, effects...)
}

func checkTolerations(e *validate.Errors, tolerations []resourcev1.DeviceToleration, fld *field.Path) {
	for i := range tolerations {
		t, p := &tolerations[i], fld.Index(i)
		if t.Key != "" {
			e.Declared().Add(metav1validation.ValidateLabelName(t.Key, p.Child("key")))
		}
		validate.RequiredEnum(e.Declared(), p.Child("operator"), t.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists)
		switch {
		case t.Operator == resourcev1.DeviceTolerationOpEqual:
			checkLabelValue(e, t.Value, p.Child("value"))
		case t.Operator == resourcev1.DeviceTolerationOpExists && t.Value != "":
			e.Invalid(p.Child("value"), t.Value, "must be empty for operator `Exists`")
		}
		if t.Effect != "" {
			validate.Enum(e.Declared(), p.Child("effect"), t.Effect, effects...)
		}
	}
}

// checkBindingConditions checks what must come true of a device before pods
// are bound, and what says that it will not.
func checkBindingConditions(e *validate.Errors, good, bad []string, fld *field.Path) {
	const limit = resourcev1.BindingConditionsMaxSize
	name := func(s *string, p *field.Path) { e.Add(metav1validation.ValidateLabelName(*s, p)) }
	goods, bads := fld.Child("bindingConditions"), fld.Child("bindingFailureConditions")
	distinct(e, good, limit, goods, itself, name)
	distinct(e, bad, limit, bads, itself, name)
	for i, b := range bad {
		for _, g := range good {
			if g == b {
				e.Invalid(bads.Index(i), b, "bindingFailureConditions must not overlap with bindingConditions")
				break
			}
		}
	}
	switch {
	case len(good) == 0 && len(bad) > 0:
		e.Invalid(goods, good, "bindingConditions are required to use bindingFailureConditions")
	case len(good) > 0 && len(bad) == 0:
		e.Invalid(bads, bad, "bindingFailureConditions are required to use bindingConditions")
	}
}

// checkSkipped checks which steps on nodes are left out.
func checkSkipped(e *validate.Errors, steps []resourcev1.SkipNodeOperation, fld *field.Path) {
	has := map[resourcev1.SkipNodeOperation]bool{}
	for i, s := range steps {
		validate.Enum(e, fld.Index(i), s, resourcev1.SkipNodeOperationAll,
			resourcev1.SkipNodeOperationNodePrepareResources, resourcev1.SkipNodeOperationNodeUnprepareResources)
		if has[s] {
			e.Duplicate(fld.Index(i), s)
		}
		has[s] = true
	}
	if has[resourcev1.SkipNodeOperationNodePrepareResources] &&
		!has[resourcev1.SkipNodeOperationNodeUnprepareResources] && !has[resourcev1.SkipNodeOperationAll] {
		e.Invalid(fld, steps, "NodePrepareResources cannot be skipped unless NodeUnprepareResources is also skipped")
	}
}
