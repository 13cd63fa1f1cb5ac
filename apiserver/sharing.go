package apiserver

import (
	"reflect"

	"k8s.io/apimachinery/pkg/runtime"
)

// sharing converts objects into others that may share their memory, but are
// others. With one type for each kind the library's own converter gives back
// the object that it was given, with another apiVersion and kind: a patch would
// change those of the object that is stored, which then differs from the patched
// one by them alone, and whatever is applied again would be a new version.
type sharing struct{ runtime.ObjectConvertor }

// ConvertToVersion implements runtime.ObjectConvertor.
func (s sharing) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	if v := reflect.ValueOf(in); v.Kind() == reflect.Pointer && !v.IsNil() {
		if _, ok := in.(runtime.Unstructured); !ok {
			out := reflect.New(v.Type().Elem())
			out.Elem().Set(v.Elem())
			in = out.Interface().(runtime.Object)
		}
	}
	return s.ObjectConvertor.ConvertToVersion(in, to)
}
