package validate

import (
	"fmt"
	"maps"
	"slices"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Errors collects what is wrong with an object. Its zero value is ready.
type Errors struct {
	list     field.ErrorList
	declared *Errors
}

// List is everything reported so far, in order, with what is declared last; nil
// when nothing is wrong.
func (e *Errors) List() field.ErrorList {
	if e.declared == nil {
		return e.list
	}
	return slices.Concat(e.list, e.declared.List())
}

// Len counts what was reported so far.
func (e *Errors) Len() int {
	if e.declared == nil {
		return len(e.list)
	}
	return len(e.list) + e.declared.Len()
}

// Declared collects the faults of what Kubernetes declares in the Go types, by
// markers as +k8s:required: it tells them after all others.
func (e *Errors) Declared() *Errors {
	if e.declared == nil {
		e.declared = &Errors{}
	}
	return e.declared
}

// Add reports errors found by another function.
func (e *Errors) Add(errs field.ErrorList) { e.list = append(e.list, errs...) }

// Required reports a missing value.
func (e *Errors) Required(p *field.Path, detail string) {
	e.list = append(e.list, field.Required(p, detail))
}

// Invalid reports a value that cannot be accepted.
func (e *Errors) Invalid(p *field.Path, value any, detail string) {
	e.list = append(e.list, field.Invalid(p, value, detail))
}

// Invalidf is Invalid with a formatted detail.
func (e *Errors) Invalidf(p *field.Path, value any, format string, args ...any) {
	e.Invalid(p, value, fmt.Sprintf(format, args...))
}

// Messages reports the same value as invalid once for each message.
func (e *Errors) Messages(p *field.Path, value any, messages []string) {
	for _, m := range messages {
		e.Invalid(p, value, m)
	}
}

// Forbidden reports a value that may not be there.
func (e *Errors) Forbidden(p *field.Path, detail string) {
	e.list = append(e.list, field.Forbidden(p, detail))
}

// Duplicate reports a value that another place has already.
func (e *Errors) Duplicate(p *field.Path, value any) {
	e.list = append(e.list, field.Duplicate(p, value))
}

// NotFound reports a reference to something that is not there.
func (e *Errors) NotFound(p *field.Path, value any) {
	e.list = append(e.list, field.NotFound(p, value))
}

// TooLong reports a string, or a whole object, of more than limit bytes.
func (e *Errors) TooLong(p *field.Path, limit int) {
	e.list = append(e.list, field.TooLong(p, "", limit))
}

// TooMany reports a list of more than limit entries.
func (e *Errors) TooMany(p *field.Path, actual, limit int) {
	e.list = append(e.list, field.TooMany(p, actual, limit))
}

// Internal reports that a check could not be made.
func (e *Errors) Internal(p *field.Path, err error) {
	e.list = append(e.list, field.InternalError(p, err))
}

// Enum reports value unless it is one of allowed. The allowed values are shown
// in the order given.
func Enum[T ~string](e *Errors, p *field.Path, value T, allowed ...T) {
	if !slices.Contains(allowed, value) {
		e.list = append(e.list, field.NotSupported(p, value, allowed))
	}
}

// RequiredEnum is Enum for a value that has no default: empty is Required.
func RequiredEnum[T ~string](e *Errors, p *field.Path, value T, allowed ...T) {
	if value == "" {
		e.Required(p, "")
		return
	}
	Enum(e, p, value, allowed...)
}

// Unchanged checks a field that Kubernetes declares as immutable in the type
// itself: its message shows no value, unlike that of
// apivalidation.ValidateImmutableField.
func (e *Errors) Unchanged(p *field.Path, now, was any) {
	if !apiequality.Semantic.DeepEqual(now, was) {
		e.Invalid(p, nil, apivalidation.FieldImmutableErrorMsg)
	}
}

// Keys are the keys of a map in order, so that errors come in a stable order.
func Keys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
