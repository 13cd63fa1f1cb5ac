package core

import (
	"crypto/tls"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Secret holds data that not everybody may see.
var Secret = api.Of[corev1.Secret]{
	Group: corev1.GroupName, Version: "v1", Kind: "Secret", Resource: "secrets",

	Default:        defaultSecret,
	ChangeFirst:    true,
	Validate:       validateSecret,
	ValidateUpdate: validateSecretUpdate,
	Warnings:       warnSecret,

	Fields: func(s *corev1.Secret) fields.Set { return fields.Set{"type": string(s.Type)} },
	Columns: []api.Column[corev1.Secret]{
		print.Name[corev1.Secret](),
		{
			Name: "Type", Description: corev1.Secret{}.SwaggerDoc()["type"],
			Value: func(s *corev1.Secret) any { return string(s.Type) },
		},
		{
			Name: "Data", Description: corev1.Secret{}.SwaggerDoc()["data"],
			Value: func(s *corev1.Secret) any { return int64(len(s.Data)) },
		},
		print.Age[corev1.Secret](),
	},
}

// defaultSecret also moves stringData, which is for writing only, into data.
// warnSecret tells of a key that is not its certificate's.
func warnSecret(s, _ *corev1.Secret) []string {
	if s.Type != corev1.SecretTypeTLS {
		return nil
	}
	if _, err := tls.X509KeyPair(s.Data[corev1.TLSCertKey], s.Data[corev1.TLSPrivateKeyKey]); err != nil {
		return []string{err.Error()}
	}
	return nil
}

func defaultSecret(s *corev1.Secret) {
	if s.Type == "" {
		s.Type = corev1.SecretTypeOpaque
	}
	if len(s.StringData) > 0 && s.Data == nil {
		s.Data = map[string][]byte{}
	}
	for key, value := range s.StringData {
		s.Data[key] = []byte(value)
	}
	s.StringData = nil
}

func validateSecret(s *corev1.Secret) field.ErrorList {
	var e validate.Errors
	data, size := field.NewPath("data"), 0
	for _, key := range validate.Keys(s.Data) {
		e.Messages(data.Key(key), key, validation.IsConfigMapKey(key))
		size += len(s.Data[key])
	}
	if size > corev1.MaxSecretSize {
		e.TooLong(data, corev1.MaxSecretSize)
	}
	require := func(key string) {
		if _, there := s.Data[key]; !there {
			e.Required(data.Key(key), "")
		}
	}
	switch s.Type {
	case corev1.SecretTypeServiceAccountToken:
		if s.Annotations[corev1.ServiceAccountNameKey] == "" {
			e.Required(field.NewPath("metadata", "annotations").Key(corev1.ServiceAccountNameKey), "")
		}
	case corev1.SecretTypeDockercfg:
		checkDockerConfig(&e, s, corev1.DockerConfigKey)
	case corev1.SecretTypeDockerConfigJson:
		checkDockerConfig(&e, s, corev1.DockerConfigJsonKey)
	case corev1.SecretTypeBasicAuth:
		_, user := s.Data[corev1.BasicAuthUsernameKey]
		_, password := s.Data[corev1.BasicAuthPasswordKey]
		if !user && !password {
			e.Required(data.Key(corev1.BasicAuthUsernameKey), "")
			e.Required(data.Key(corev1.BasicAuthPasswordKey), "")
		}
	case corev1.SecretTypeSSHAuth:
		if len(s.Data[corev1.SSHAuthPrivateKey]) == 0 {
			e.Required(data.Key(corev1.SSHAuthPrivateKey), "")
		}
	case corev1.SecretTypeTLS:
		require(corev1.TLSCertKey)
		require(corev1.TLSPrivateKeyKey)
	}
	return e.List()
}

func checkDockerConfig(e *validate.Errors, s *corev1.Secret, key string) {
	p := field.NewPath("data").Key(key)
	config, there := s.Data[key]
	if !there {
		e.Required(p, "")
		return
	}
	if err := json.Unmarshal(config, &map[string]any{}); err != nil {
		e.Invalid(p, "<secret contents redacted>", err.Error())
	}
}

func validateSecretUpdate(s, old *corev1.Secret) field.ErrorList {
	var e validate.Errors
	e.Add(apivalidation.ValidateImmutableField(s.Type, old.Type, field.NewPath("type")))
	if ptr.Deref(old.Immutable, false) {
		if !ptr.Deref(s.Immutable, false) {
			e.Forbidden(field.NewPath("immutable"), frozen)
		}
		if !apiequality.Semantic.DeepEqual(s.Data, old.Data) {
			e.Forbidden(field.NewPath("data"), frozen)
		}
	}
	return e.List()
}
