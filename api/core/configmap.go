package core

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// frozen is said of the data of an object that is marked immutable.
const frozen = "field is immutable when `immutable` is set"

// ConfigMap holds configuration for pods.
var ConfigMap = api.Of[corev1.ConfigMap]{
	Group: corev1.GroupName, Version: "v1", Kind: "ConfigMap", Resource: "configmaps",
	ShortNames: []string{"cm"},

	ChangeFirst:    true,
	Validate:       validateConfigMap,
	ValidateUpdate: validateConfigMapUpdate,

	Columns: []api.Column[corev1.ConfigMap]{
		print.Name[corev1.ConfigMap](),
		{
			Name: "Data", Description: corev1.ConfigMap{}.SwaggerDoc()["data"],
			Value: func(c *corev1.ConfigMap) any { return int64(len(c.Data) + len(c.BinaryData)) },
		},
		print.Age[corev1.ConfigMap](),
	},
}

func validateConfigMap(c *corev1.ConfigMap) field.ErrorList {
	var e validate.Errors
	size := 0
	for _, key := range validate.Keys(c.Data) {
		p := field.NewPath("data").Key(key)
		e.Messages(p, key, validation.IsConfigMapKey(key))
		if _, both := c.BinaryData[key]; both {
			e.Invalid(p, key, "duplicate of key present in binaryData")
		}
		size += len(c.Data[key])
	}
	for _, key := range validate.Keys(c.BinaryData) {
		e.Messages(field.NewPath("binaryData").Key(key), key, validation.IsConfigMapKey(key))
		size += len(c.BinaryData[key])
	}
	if size > corev1.MaxSecretSize {
		e.TooLong(field.NewPath(""), corev1.MaxSecretSize)
	}
	return e.List()
}

func validateConfigMapUpdate(c, old *corev1.ConfigMap) field.ErrorList {
	var e validate.Errors
	if !ptr.Deref(old.Immutable, false) {
		return nil
	}
	if !ptr.Deref(c.Immutable, false) {
		e.Forbidden(field.NewPath("immutable"), frozen)
	}
	if !apiequality.Semantic.DeepEqual(c.Data, old.Data) {
		e.Forbidden(field.NewPath("data"), frozen)
	}
	if !apiequality.Semantic.DeepEqual(c.BinaryData, old.BinaryData) {
		e.Forbidden(field.NewPath("binaryData"), frozen)
	}
	return e.List()
}
