package openapi

import (
	"fmt"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/typed"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// converter makes typed values of objects of built-in kinds, for managed fields.
type converter struct {
	build func() (managedfields.TypeConverter, error)
	known sync.Map // schema.GroupVersionKind → *typed.TypedValue of an object
}

// ObjectToTyped implements managedfields.TypeConverter.
//
// With AllowDuplicates the object comes from its Go type, which the schema was
// made of, and is compared with another version next. The comparison finds the
// faults that there can be, list items without their keys; to look for them
// first would take as long as it does.
func (c *converter) ObjectToTyped(o runtime.Object, v ...typed.ValidationOptions) (*typed.TypedValue, error) {
	t, err := c.build()
	if err != nil {
		return nil, err
	}
	_, generic := o.(runtime.Unstructured)
	if generic || !slices.Contains(v, typed.AllowDuplicates) {
		return t.ObjectToTyped(o, v...)
	}
	kind := o.GetObjectKind().GroupVersionKind()
	if found, ok := c.known.Load(kind); ok {
		content, err := value.NewValueReflect(o)
		if err != nil {
			return nil, fmt.Errorf("read fields of %s: %w", kind.Kind, err)
		}
		of := found.(*typed.TypedValue)
		return typed.AsTypedUnvalidated(content, of.Schema(), of.TypeRef()), nil //nolint:staticcheck // see above
	}
	made, err := t.ObjectToTyped(o, v...)
	if err == nil {
		c.known.Store(kind, typed.AsTypedUnvalidated(nil, made.Schema(), made.TypeRef())) //nolint:staticcheck // for its type
	}
	return made, err
}

// TypedToObject implements managedfields.TypeConverter.
func (c *converter) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	t, err := c.build()
	if err != nil {
		return nil, err
	}
	return t.TypedToObject(v)
}
