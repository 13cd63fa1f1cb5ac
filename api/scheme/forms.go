package scheme

import (
	"fmt"
	"reflect"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiffcluster/skiff/api"
)

// form turns the objects of a version into those that the server works on
// (in) and back (out). Each gets pointers of the two Go types; what it copies
// may be shared.
type form struct{ in, out func(from, to any) error }

// forms are those of versions whose objects do not simply have the same fields
// in other Go types, by Go type of the version.
var forms = map[reflect.Type]form{
	reflect.TypeFor[autoscalingv1.HorizontalPodAutoscaler](): {
		in: func(from, to any) error {
			return autoscalerIn(from.(*autoscalingv1.HorizontalPodAutoscaler), to.(*autoscalingv2.HorizontalPodAutoscaler))
		},
		out: func(from, to any) error {
			return autoscalerOut(from.(*autoscalingv2.HorizontalPodAutoscaler), to.(*autoscalingv1.HorizontalPodAutoscaler))
		},
	},
}

// addForms lets a kind be served in a Go type that is not the one it is worked
// on in.
func addForms(s *runtime.Scheme, k *api.Kind) error {
	work := k.New()
	wire, err := s.New(k.GVK)
	if err != nil {
		return err
	}
	if reflect.TypeOf(wire) == reflect.TypeOf(work) || reflect.TypeOf(work) == reflect.TypeFor[*corev1.Event]() {
		return nil
	}
	f, ok := forms[reflect.TypeOf(wire).Elem()]
	if !ok {
		f = form{in: sameFields, out: sameFields}
	}
	in := func(from, to any) error {
		if err := f.in(from, to); err != nil {
			return err
		}
		k.Default(to.(runtime.Object))
		return nil
	}
	if err := addConversion(s, wire, work, in, f.out); err != nil {
		return err
	}
	lists := func(version string) (runtime.Object, error) {
		return s.New(schema.GroupVersionKind{Group: k.GVK.Group, Version: version, Kind: k.GVK.Kind + "List"})
	}
	wireList, err := lists(k.GVK.Version)
	if err != nil {
		return err
	}
	workList, err := lists(runtime.APIVersionInternal)
	if err != nil {
		return err
	}
	return addConversion(s, wireList, workList, items(in), items(f.out))
}

func addConversion(s *runtime.Scheme, wire, work runtime.Object, in, out func(from, to any) error) error {
	if err := s.AddConversionFunc(wire, work, func(a, b any, _ conversion.Scope) error { return in(a, b) }); err != nil {
		return err
	}
	return s.AddConversionFunc(work, wire, func(a, b any, _ conversion.Scope) error { return out(a, b) })
}

// items converts the items of a list one by one.
func items(convert func(from, to any) error) func(from, to any) error {
	return func(from, to any) error {
		a, b := reflect.ValueOf(from).Elem(), reflect.ValueOf(to).Elem()
		b.FieldByName("ListMeta").Set(a.FieldByName("ListMeta"))
		old := a.FieldByName("Items")
		list := reflect.MakeSlice(b.FieldByName("Items").Type(), old.Len(), old.Len())
		for i := range old.Len() {
			if err := convert(old.Index(i).Addr().Interface(), list.Index(i).Addr().Interface()); err != nil {
				return err
			}
		}
		b.FieldByName("Items").Set(list)
		return nil
	}
}

// sameFields copies an object into one of another Go type, field by field of
// the same name. Where one has an optional value and the other a plain one, the
// zero value means that there is none.
func sameFields(from, to any) error {
	return copyFields(reflect.ValueOf(from).Elem(), reflect.ValueOf(to).Elem())
}

func copyFields(from, to reflect.Value) error {
	switch {
	case from.Type() == to.Type():
		to.Set(from)
	case from.Kind() == reflect.Pointer && to.Kind() == reflect.Pointer:
		if !from.IsNil() {
			to.Set(reflect.New(to.Type().Elem()))
			return copyFields(from.Elem(), to.Elem())
		}
	case from.Kind() == reflect.Pointer:
		if !from.IsNil() {
			return copyFields(from.Elem(), to)
		}
	case to.Kind() == reflect.Pointer:
		if !from.IsZero() {
			to.Set(reflect.New(to.Type().Elem()))
			return copyFields(from, to.Elem())
		}
	case from.Kind() == reflect.Struct:
		if done, err := copyPart(from.Addr().Interface(), to.Addr().Interface()); done {
			return err
		}
		return copyStruct(from, to)
	case from.Kind() == reflect.Slice && !from.IsNil():
		to.Set(reflect.MakeSlice(to.Type(), from.Len(), from.Len()))
		for i := range from.Len() {
			if err := copyFields(from.Index(i), to.Index(i)); err != nil {
				return err
			}
		}
	case from.Kind() == reflect.Slice:
	case from.Kind() == reflect.Map:
		return copyMap(from, to)
	case from.CanConvert(to.Type()):
		to.Set(from.Convert(to.Type()))
	default:
		return fmt.Errorf("cannot make a %s of a %s", to.Type(), from.Type())
	}
	return nil
}

// copyStruct skips the kind and version, which whoever converts sets.
func copyStruct(from, to reflect.Value) error {
	for i := range to.NumField() {
		name := to.Type().Field(i).Name
		if name == "TypeMeta" {
			continue
		}
		if f := from.FieldByName(name); f.IsValid() {
			if err := copyFields(f, to.Field(i)); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyMap(from, to reflect.Value) error {
	if from.IsNil() {
		return nil
	}
	to.Set(reflect.MakeMapWithSize(to.Type(), from.Len()))
	for entry := from.MapRange(); entry.Next(); {
		// Entries of a map have no address, which copyPart needs.
		old := reflect.New(from.Type().Elem()).Elem()
		old.Set(entry.Value())
		value := reflect.New(to.Type().Elem()).Elem()
		if err := copyFields(old, value); err != nil {
			return err
		}
		to.SetMapIndex(entry.Key().Convert(to.Type().Key()), value)
	}
	return nil
}
