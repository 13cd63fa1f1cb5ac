package core

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DefaultPodTemplate fills what a client left out of a pod template.
func DefaultPodTemplate(t *corev1.PodTemplateSpec) {
	DefaultPodSpec(&t.Spec)
}

// DefaultPodSpec fills what a client left out of a pod's spec.
func DefaultPodSpec(s *corev1.PodSpec) {}

// ValidatePodTemplate checks the template that a workload makes its pods from.
func ValidatePodTemplate(t *corev1.PodTemplateSpec, fld *field.Path) field.ErrorList {
	return nil
}

// ValidatePodTemplateUpdate checks that a template did not change, which kinds
// with immutable templates (Job, say) demand.
func ValidatePodTemplateUpdate(t, old *corev1.PodTemplateSpec, fld *field.Path) field.ErrorList {
	return nil
}

// ValidatePodSpec checks the spec of a pod or of a template, whose metadata is meta.
func ValidatePodSpec(s *corev1.PodSpec, meta *metav1.ObjectMeta, fld *field.Path) field.ErrorList {
	return nil
}

// PodTemplateWarnings are told to a client that writes a template. old is nil on create.
func PodTemplateWarnings(t, old *corev1.PodTemplateSpec, fld *field.Path) []string {
	return nil
}
