package validate

import (
	"reflect"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// TemplateMeta checks the metadata of what is made of a template for each pod:
// annotations and labels, and nothing else.
func (e *Errors) TemplateMeta(p *field.Path, m *metav1.ObjectMeta) {
	e.Add(apivalidation.ValidateAnnotations(m.Annotations, p.Child("annotations")))
	e.Add(metav1validation.ValidateLabels(m.Labels, p.Child("labels")))
	for _, f := range SetFields(*m) {
		if f != "annotations" && f != "labels" {
			e.Forbidden(p.Child(f), "cannot be set")
		}
	}
}

// SetFields are the names of the fields of a struct that are not zero, as they
// are spelt in paths.
func SetFields(of any) []string {
	var names []string
	v := reflect.ValueOf(of)
	for i := range v.NumField() {
		if name := v.Type().Field(i).Name; !v.Field(i).IsZero() {
			names = append(names, strings.ToLower(name[:1])+name[1:])
		}
	}
	return names
}
