package apps

import (
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/print"
	"github.com/skiffcluster/skiff/api/validate"
)

const (
	aboveReplicas   = "cannot be greater than status.replicas"
	mismatch        = "`selector` does not match template `labels`"
	notDecremented  = "cannot be decremented"
	historyLimit    = 10  // revisions kept by default, of every kind here
	progressSeconds = 600 // a Deployment's default deadline for progress
)

var replicasPath = []string{"spec", "replicas"}

// checkSelector checks a selector that must be there and select something.
// The selector is nil when it cannot be used: faulty is said of it then.
func checkSelector(e *validate.Errors, s *metav1.LabelSelector, fld *field.Path, empty, faulty string) labels.Selector {
	if s == nil {
		e.Required(fld, "")
		return labels.Nothing()
	}
	e.Add(metav1validation.ValidateLabelSelector(s, metav1validation.LabelSelectorValidationOptions{}, fld))
	if len(s.MatchLabels)+len(s.MatchExpressions) == 0 {
		e.Invalid(fld, s, empty)
	}
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		e.Invalid(fld, s, faulty)
		return nil
	}
	return selector
}

// checkReplicated checks the template of interchangeable pods: that the
// selector finds them and that they run until they are told to stop.
func checkReplicated(e *validate.Errors, t *corev1.PodTemplateSpec, selector labels.Selector, fld *field.Path) {
	if selector == nil {
		return
	}
	checkMatches(e, t, selector, fld)
	e.Add(core.ValidatePodTemplate(t, fld))
	checkRunsForever(e, t, fld, "ReplicaSet")
}

func checkMatches(e *validate.Errors, t *corev1.PodTemplateSpec, selector labels.Selector, fld *field.Path) {
	if !selector.Empty() && !selector.Matches(labels.Set(t.Labels)) {
		e.Invalid(fld.Child("metadata", "labels"), t.Labels, mismatch)
	}
}

func checkRunsForever(e *validate.Errors, t *corev1.PodTemplateSpec, fld *field.Path, kind string) {
	validate.Enum(e, fld.Child("spec", "restartPolicy"), t.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	if t.Spec.ActiveDeadlineSeconds != nil {
		e.Forbidden(fld.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in "+kind+" is not Supported")
	}
}

// checkOptional checks a number that may be left out and not be negative.
func checkOptional(e *validate.Errors, fld *field.Path, n *int32) {
	if n != nil {
		e.Nonnegative(fld, int64(*n))
	}
}

// checkCollisions checks status.collisionCount, which only counts up.
func checkCollisions(e *validate.Errors, n, old *int32) {
	fld := field.NewPath("status", "collisionCount")
	checkOptional(e, fld, n)
	if old != nil && ptr.Deref(n, 0) < *old {
		e.Invalid(fld, ptr.Deref(n, 0), notDecremented)
	}
}

// isZero tells a number, absolute or in percent, that lets no pod through.
func isZero(v *intstr.IntOrString) bool {
	if v == nil {
		return true
	}
	if n, ok := validate.Percent(v); ok {
		return n == 0
	}
	return v.IntValue() == 0
}

// nameWarnings warns of a name that makes no good names of pods.
func nameWarnings(name string) []string {
	msgs := validation.IsDNS1123Label(name)
	if len(msgs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("metadata.name: this is used in Pod names and hostnames, "+
		"which can result in surprising behavior; a DNS label is recommended: %v", msgs)}
}

// scaleStatus is the status of a Scale over pods that selector finds.
func scaleStatus(replicas int32, selector *metav1.LabelSelector) autoscalingv1.ScaleStatus {
	status := autoscalingv1.ScaleStatus{Replicas: replicas}
	if s, err := metav1.LabelSelectorAsSelector(selector); err == nil {
		status.Selector = s.String()
	}
	return status
}

// templateColumns are the wide columns of what the pods are made of.
func templateColumns[T any](template func(*T) *corev1.PodTemplateSpec) []api.Column[T] {
	return []api.Column[T]{
		{
			Name: "Containers", Priority: 1, Description: "Names of each container in the template.",
			Value: func(o *T) any { return print.ContainerNames(template(o).Spec.Containers) },
		},
		{
			Name: "Images", Priority: 1, Description: "Images referenced by each container in the template.",
			Value: func(o *T) any { return print.ContainerImages(template(o).Spec.Containers) },
		},
	}
}

// selectorColumn is the wide column of the pods' selector.
func selectorColumn[T any](description string, selector func(*T) *metav1.LabelSelector) api.Column[T] {
	return api.Column[T]{
		Name: "Selector", Priority: 1, Description: description,
		Value: func(o *T) any { return metav1.FormatLabelSelector(selector(o)) },
	}
}

// integer is a column that holds a number.
func integer[T any](name, description string, value func(*T) int32) api.Column[T] {
	return api.Column[T]{
		Name: name, Type: "integer", Description: description,
		Value: func(o *T) any { return int64(value(o)) },
	}
}
