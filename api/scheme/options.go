package scheme

import (
	"fmt"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
)

// queryOptions are the options of subresources that come as a URL's query.
var queryOptions = []runtime.Object{
	&corev1.NodeProxyOptions{},
	&corev1.PodAttachOptions{},
	&corev1.PodExecOptions{},
	&corev1.PodLogOptions{},
	&corev1.PodPortForwardOptions{},
	&corev1.PodProxyOptions{},
	&corev1.ServiceProxyOptions{},
}

// addQueryConversions lets a parameter codec read those options.
func addQueryConversions(s *runtime.Scheme) error {
	for _, options := range queryOptions {
		err := s.AddConversionFunc((*url.Values)(nil), options, func(a, b any, _ conversion.Scope) error {
			return fromQuery(*a.(*url.Values), reflect.ValueOf(b).Elem())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// fromQuery sets the fields of a struct from the parameters of their JSON
// names.
func fromQuery(query url.Values, into reflect.Value) error {
	for i := range into.NumField() {
		name, _, _ := strings.Cut(into.Type().Field(i).Tag.Get("json"), ",")
		values, there := query[name]
		if name == "" || !there || len(values) == 0 {
			continue
		}
		if err := setField(into.Field(i), values); err != nil {
			return fmt.Errorf("parameter %s: %w", name, err)
		}
	}
	return nil
}

var timeType = reflect.TypeFor[metav1.Time]()

// setField sets a field of the kinds that options have: texts, numbers, flags,
// times, pointers to those, and lists of them.
func setField(f reflect.Value, values []string) error {
	switch {
	case f.Kind() == reflect.Pointer:
		v := reflect.New(f.Type().Elem())
		if err := setField(v.Elem(), values); err != nil {
			return err
		}
		f.Set(v)
		return nil
	case f.Kind() == reflect.Slice:
		list := reflect.MakeSlice(f.Type(), len(values), len(values))
		for i := range values {
			if err := setField(list.Index(i), values[i:i+1]); err != nil {
				return err
			}
		}
		f.Set(list)
		return nil
	case f.Type() == timeType:
		var t metav1.Time
		if err := t.UnmarshalQueryParameter(values[0]); err != nil {
			return err
		}
		f.Set(reflect.ValueOf(t))
		return nil
	}
	switch text := values[0]; f.Kind() {
	case reflect.String:
		f.SetString(text)
	case reflect.Bool:
		var b bool
		if err := runtime.Convert_Slice_string_To_bool(&values, &b, nil); err != nil {
			return err
		}
		f.SetBool(b)
	case reflect.Int, reflect.Int32, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, f.Type().Bits())
		if err != nil {
			return err
		}
		f.SetInt(n)
	default:
		return fmt.Errorf("cannot read a %s", f.Type())
	}
	return nil
}
