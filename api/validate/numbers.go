package validate

import (
	"fmt"

	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// NotPositive is the message for numbers that must be above zero.
const NotPositive = "must be greater than zero"

// Nonnegative reports a number below zero.
func (e *Errors) Nonnegative(p *field.Path, value int64) {
	e.Add(apivalidation.ValidateNonnegativeField(value, p))
}

// Positive reports a number that is not above zero.
func (e *Errors) Positive(p *field.Path, value int64) {
	if value <= 0 {
		e.Invalid(p, value, NotPositive)
	}
}

// Between reports a number outside of lo to hi.
func (e *Errors) Between(p *field.Path, value int64, lo, hi int) {
	if value < int64(lo) || value > int64(hi) {
		e.Invalid(p, value, validation.InclusiveRangeError(lo, hi))
	}
}

// NonnegativeQuantity reports a quantity below zero.
func (e *Errors) NonnegativeQuantity(p *field.Path, q resource.Quantity) {
	if q.Sign() < 0 {
		e.Invalid(p, q.String(), apivalidation.IsNegativeErrorMsg)
	}
}

// PortNumber reports what is not a port from 1 to 65535.
func (e *Errors) PortNumber(p *field.Path, port int32) {
	e.Messages(p, port, validation.IsValidPortNum(int(port)))
}

// PortNumberOrName reports what is neither a port number nor a port name.
func (e *Errors) PortNumberOrName(p *field.Path, port intstr.IntOrString) {
	switch port.Type {
	case intstr.Int:
		e.Messages(p, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	case intstr.String:
		e.Messages(p, port.StrVal, validation.IsValidPortName(port.StrVal))
	default:
		e.Internal(p, fmt.Errorf("unknown type: %v", port.Type))
	}
}

// FileMode reports permission bits outside of 0 to 0777; nil is fine.
func (e *Errors) FileMode(p *field.Path, mode *int32) {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		e.Invalid(p, *mode, "must be a number between 0 and 0777 (octal), both inclusive")
	}
}

// UserID reports a user that is not from 0 to 2147483647; nil is fine.
func (e *Errors) UserID(p *field.Path, id *int64) {
	if id != nil {
		e.Messages(p, *id, validation.IsValidUserID(*id))
	}
}

// GroupID reports a group that is not from 0 to 2147483647; nil is fine.
func (e *Errors) GroupID(p *field.Path, id *int64) {
	if id != nil {
		e.Messages(p, *id, validation.IsValidGroupID(*id))
	}
}
