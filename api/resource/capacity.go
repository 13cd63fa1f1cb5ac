package resource

import (
	"math"

	resourcev1 "k8s.io/api/resource/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/validate"
)

// maxValidValues is how many amounts a policy may list.
const maxValidValues = 10

// checkCapacities checks how much a device has, and in which amounts claims
// may share it.
func checkCapacities(e *validate.Errors, d *resourcev1.Device, fld *field.Path) {
	shared := ptr.Deref(d.AllowMultipleAllocations, false)
	for _, key := range validate.Keys(d.Capacity) {
		c, p := d.Capacity[key], fld.Key(shortKey(string(key), keyLength)).Child("requestPolicy")
		checkQualified(e, string(key), false, fld)
		policy := c.RequestPolicy
		switch {
		case policy == nil:
		case !shared:
			e.Forbidden(p, "allowMultipleAllocations must be true")
		case len(policy.ValidValues) > 0 && policy.ValidRange != nil:
			e.Forbidden(p, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)
		case len(policy.ValidValues) > 0 && policy.Default == nil:
			e.Required(p.Child("default"), "required when validValues is defined")
		case len(policy.ValidValues) > 0:
			checkValues(e, policy, c.Value, p.Child("validValues"))
		case policy.ValidRange != nil && policy.Default == nil:
			e.Required(p.Child("default"), "required when validRange is defined")
		case policy.ValidRange != nil:
			checkRange(e, policy, c.Value, p.Child("validRange"))
		}
	}
}

// checkValues checks amounts of which one is asked for.
func checkValues(e *validate.Errors, policy *resourcev1.CapacityRequestPolicy, whole apiresource.Quantity, p *field.Path) {
	values, found := policy.ValidValues, false
	for i := 1; i < len(values); i++ {
		if values[i-1].Cmp(values[i]) > 0 {
			e.Invalid(p.Index(i), values[i].String(), "values must be sorted in ascending order")
		}
	}
	distinct(e, values, maxValidValues, p, func(q *apiresource.Quantity) string { return q.AsDec().String() },
		func(q *apiresource.Quantity, p *field.Path) {
			if q.Cmp(whole) > 0 {
				e.Invalidf(p, q.String(), "option is larger than capacity value: %s", whole.String())
			}
			found = found || q.Cmp(*policy.Default) == 0
		})
	if !found {
		e.Invalid(p, policy.Default.String(), "default value is not valid according to the requestPolicy")
	}
}

// checkRange checks bounds between which an amount is asked for.
func checkRange(e *validate.Errors, policy *resourcev1.CapacityRequestPolicy, whole apiresource.Quantity, p *field.Path) {
	r, def := policy.ValidRange, policy.Default
	if r.Min == nil {
		e.Required(p.Child("min"), "required when validRange is defined")
		return
	}
	// above reports a when it is more than b.
	above := func(a, b *apiresource.Quantity, at string, shown *apiresource.Quantity, message string, other *apiresource.Quantity) {
		if a != nil && b != nil && a.Cmp(*b) > 0 {
			e.Invalid(p.Child(at), shown.String(), message+other.String())
		}
	}
	above(r.Min, &whole, "min", r.Min, "min is larger than capacity value: ", &whole)
	above(r.Min, def, "default", def, "default is less than min: ", r.Min)
	above(r.Min, r.Max, "max", r.Min, "min is larger than max: ", r.Max)
	above(r.Max, &whole, "max", r.Max, "max is larger than capacity value: ", &whole)
	above(def, r.Max, "default", def, "default is more than max: ", r.Max)
	if r.Step == nil {
		return
	}
	if r.Step.Sign() <= 0 {
		e.Invalid(p.Child("step"), r.Step.String(), validate.NotPositive)
		return
	}
	one := r.Min.DeepCopy()
	one.Add(*r.Step)
	if one.Cmp(whole) > 0 {
		e.Invalidf(p.Child("step"), r.Step.String(), "one step %s is larger than capacity value: %s", one.String(), whole.String())
	}
	sound := true
	for i, q := range []*apiresource.Quantity{def, r.Min, r.Max, r.Step} {
		name := []string{"default", "min", "max", "step"}[i]
		switch {
		case q == nil:
			continue
		case q.Sign() < 0:
			e.Invalid(p.Child(name), q.String(), apivalidation.IsNegativeErrorMsg)
		case q.CmpInt64(math.MaxInt64) > 0:
			e.Invalidf(p.Child(name), q.String(), "must not be larger than %d", math.MaxInt64)
		default:
			continue
		}
		sound = false
	}
	if !sound {
		return
	}
	for _, q := range []*apiresource.Quantity{def, r.Max} {
		if q != nil && (q.Value()-r.Min.Value())%r.Step.Value() != 0 {
			e.Invalidf(p.Child("step"), q.String(), "value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String())
		}
	}
}
