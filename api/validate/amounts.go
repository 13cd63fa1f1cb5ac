package validate

import (
	"strconv"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// IntOrPercent reports what is neither a number from zero up nor a percentage;
// nil is fine.
func (e *Errors) IntOrPercent(p *field.Path, v *intstr.IntOrString) {
	if v == nil {
		return
	}
	switch v.Type {
	case intstr.String:
		e.Messages(p, *v, validation.IsValidPercent(v.StrVal))
	case intstr.Int:
		e.Nonnegative(p, int64(v.IntValue()))
	default:
		e.Invalid(p, *v, "must be an integer or percentage (e.g '5%%')")
	}
}

// AtMostAll reports a percentage above 100%.
func (e *Errors) AtMostAll(p *field.Path, v *intstr.IntOrString) {
	if n, ok := Percent(v); ok && n > 100 {
		e.Invalid(p, *v, "must not be greater than 100%")
	}
}

// Percent is the number of a percentage; ok is false when v is none.
func Percent(v *intstr.IntOrString) (n int, ok bool) {
	if v == nil || v.Type != intstr.String || len(validation.IsValidPercent(v.StrVal)) > 0 {
		return 0, false
	}
	n, err := strconv.Atoi(v.StrVal[:len(v.StrVal)-1])
	return n, err == nil
}
