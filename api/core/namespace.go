package core

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

// Namespace separates the names of objects.
var Namespace = api.Of[corev1.Namespace]{
	Group: corev1.GroupName, Version: "v1", Kind: "Namespace", Resource: "namespaces",
	ReturnDeleted: true,
	ShortNames:    []string{"ns"},
	ClusterScoped: true,

	NoDeleteCollection: true,

	NameValidation: apivalidation.ValidateNamespaceName,
	Default:        defaultNamespace,
	PrepareCreate:  prepareNamespace,
	// Finalizers change through the finalize subresource only.
	PrepareUpdate: func(n, old *corev1.Namespace) { n.Spec.Finalizers = old.Spec.Finalizers },
	Validate:      validateNamespace,

	Status: &api.Status[corev1.Namespace]{
		ResetOnCreate: func(n *corev1.Namespace) { n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive} },
		Validate:      validateNamespaceStatus,
	},

	Fields: func(n *corev1.Namespace) fields.Set {
		return fields.Set{"status.phase": string(n.Status.Phase)}
	},
	Columns: []api.Column[corev1.Namespace]{
		print.Name[corev1.Namespace](),
		{
			Name: "Status", Description: "The status of the namespace",
			Value: func(n *corev1.Namespace) any { return string(n.Status.Phase) },
		},
		print.Age[corev1.Namespace](),
	},
}

// defaultNamespace labels a namespace with its name, by which selectors of
// namespaces can tell it.
func defaultNamespace(n *corev1.Namespace) {
	if n.Name == "" {
		return // still to be generated
	}
	if n.Status.Phase == "" {
		n.Status.Phase = corev1.NamespaceActive
	}
	if n.Labels == nil {
		n.Labels = map[string]string{}
	}
	n.Labels[corev1.LabelMetadataName] = n.Name
}

func prepareNamespace(n *corev1.Namespace) {
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	// On create, metadata.finalizers and spec.finalizers are separate lists; the
	// latter holds a namespace back until its content is gone.
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(slices.Clone(n.Spec.Finalizers), corev1.FinalizerKubernetes)
	}
	defaultNamespace(n)
}

// standardFinalizers are those without a domain.
var standardFinalizers = []string{string(corev1.FinalizerKubernetes), metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents}

func validateNamespace(n *corev1.Namespace) field.ErrorList {
	var e validate.Errors
	p := field.NewPath("spec", "finalizers")
	for _, f := range n.Spec.Finalizers {
		e.Messages(p, string(f), validation.IsQualifiedName(string(f)))
		if !strings.Contains(string(f), "/") && !slices.Contains(standardFinalizers, string(f)) {
			e.Invalid(p, string(f), "name is neither a standard finalizer name nor is it fully qualified")
		}
	}
	return e.List()
}

func validateNamespaceStatus(n, _ *corev1.Namespace) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("status", "Phase")
	if n.DeletionTimestamp.IsZero() {
		if n.Status.Phase != corev1.NamespaceActive {
			e.Invalid(fld, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")
		}
	} else if n.Status.Phase != corev1.NamespaceTerminating {
		e.Invalid(fld, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")
	}
	return e.List()
}
