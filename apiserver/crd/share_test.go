package crd

import (
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestShare(t *testing.T) {
	definition := func(description, fields string, generation int64) *apiextensions.CustomResourceDefinition {
		return &apiextensions.CustomResourceDefinition{
			ObjectMeta: metav1.ObjectMeta{Name: "a.b", UID: "u", Generation: generation, ManagedFields: []metav1.ManagedFieldsEntry{{
				Manager: "m", FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)},
			}}},
			Spec: apiextensions.CustomResourceDefinitionSpec{Validation: &apiextensions.CustomResourceValidation{
				OpenAPIV3Schema: &apiextensions.JSONSchemaProps{Description: description},
			}},
		}
	}
	for _, tt := range []struct {
		name         string
		now          *apiextensions.CustomResourceDefinition
		spec, fields bool
	}{
		{"another status shares all", definition("a", "{}", 1), true, true},
		{"another spec is its own", definition("b", "{}", 2), false, true},
		{"other fields are their own", definition("a", `{"f:status":{}}`, 1), true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, want := definition("a", "{}", 1), tt.now.DeepCopy()
			share(tt.now, before)
			if got := tt.now.Spec.Validation == before.Spec.Validation; got != tt.spec {
				t.Errorf("spec shared: %t", got)
			}
			if got := tt.now.ManagedFields[0].FieldsV1 == before.ManagedFields[0].FieldsV1; got != tt.fields {
				t.Errorf("managed fields shared: %t", got)
			}
			if tt.now.Spec.Validation.OpenAPIV3Schema.Description != want.Spec.Validation.OpenAPIV3Schema.Description || string(tt.now.ManagedFields[0].FieldsV1.Raw) != string(want.ManagedFields[0].FieldsV1.Raw) {
				t.Error("it says something else now")
			}
		})
	}
}
