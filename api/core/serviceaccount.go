package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// enforceMountableSecrets is an annotation that is going away.
const enforceMountableSecrets = "kubernetes.io/enforce-mountable-secrets"

// ServiceAccount is an identity for pods.
var ServiceAccount = api.Of[corev1.ServiceAccount]{
	Group: corev1.GroupName, Version: "v1", Kind: "ServiceAccount", Resource: "serviceaccounts",
	ReturnDeleted: true,
	ShortNames:    []string{"sa"},

	NameValidation: apivalidation.ValidateServiceAccountName,
	PrepareCreate:  cleanSecretReferences,
	PrepareUpdate:  func(s, _ *corev1.ServiceAccount) { cleanSecretReferences(s) },
	Warnings:       warnServiceAccount,

	Columns: []api.Column[corev1.ServiceAccount]{
		print.Name[corev1.ServiceAccount](),
		print.Age[corev1.ServiceAccount](),
	},
}

// cleanSecretReferences leaves only the names: secrets are in the account's
// own namespace.
func cleanSecretReferences(s *corev1.ServiceAccount) {
	for i, ref := range s.Secrets {
		s.Secrets[i] = corev1.ObjectReference{Name: ref.Name}
	}
}

func warnServiceAccount(s, old *corev1.ServiceAccount) []string {
	value, there := s.Annotations[enforceMountableSecrets]
	if old != nil {
		if before, was := old.Annotations[enforceMountableSecrets]; was && before == value {
			there = false
		}
	}
	if !there {
		return nil
	}
	return []string{"metadata.annotations[" + enforceMountableSecrets + "]: deprecated in v1.32+; " +
		"prefer separate namespaces to isolate access to mounted secrets"}
}
