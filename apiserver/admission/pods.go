package admission

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission"
)

// containers gives all containers of a pod with their paths: init containers,
// containers, ephemeral ones.
func containers(spec *corev1.PodSpec) iter.Seq2[*field.Path, *corev1.Container] {
	return func(yield func(*field.Path, *corev1.Container) bool) {
		root := field.NewPath("spec")
		for i := range spec.InitContainers {
			if !yield(root.Child("initContainers").Index(i), &spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(root.Child("containers").Index(i), &spec.Containers[i]) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield(root.Child("ephemeralContainers").Index(i), (*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// createOrUpdate is embedded by plugins that look at both.
type createOrUpdate struct{}

func (createOrUpdate) Handles(op admission.Operation) bool {
	return op == admission.Create || op == admission.Update
}

// alwaysPull makes the node pull each image anew, so that only those who may
// pull an image use it.
type alwaysPull struct{ createOrUpdate }

// Admit implements admission.MutationInterface.
func (alwaysPull) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok || !newImages(a, pod) {
		return nil
	}
	for _, c := range containers(&pod.Spec) {
		c.ImagePullPolicy = corev1.PullAlways
	}
	for i := range pod.Spec.Volumes {
		if image := pod.Spec.Volumes[i].Image; image != nil {
			image.PullPolicy = corev1.PullAlways
		}
	}
	return nil
}

// Validate implements admission.ValidationInterface: a webhook may have changed
// it again.
func (alwaysPull) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok || !newImages(a, pod) {
		return nil
	}
	var errs []error
	check := func(path *field.Path, policy corev1.PullPolicy) {
		if policy != corev1.PullAlways {
			errs = append(errs, admission.NewForbidden(a, field.NotSupported(path, policy, []corev1.PullPolicy{corev1.PullAlways})))
		}
	}
	for path, c := range containers(&pod.Spec) {
		check(path.Child("imagePullPolicy"), c.ImagePullPolicy)
	}
	for i, v := range pod.Spec.Volumes {
		if v.Image != nil {
			check(field.NewPath("spec", "volumes").Index(i).Child("image", "pullPolicy"), v.Image.PullPolicy)
		}
	}
	return utilerrors.NewAggregate(errs)
}

// newImages says whether the pod is new or has an image that it had not.
func newImages(a admission.Attributes, pod *corev1.Pod) bool {
	old, ok := a.GetOldObject().(*corev1.Pod)
	if !ok {
		return true
	}
	had := sets.New[string]()
	for _, c := range containers(&old.Spec) {
		had.Insert(c.Image)
	}
	for _, c := range containers(&pod.Spec) {
		if !had.Has(c.Image) {
			return true
		}
	}
	return false
}

// antiAffinity lets pods keep others away from their node only, not from a whole
// zone.
type antiAffinity struct{ createOrUpdate }

// Validate implements admission.ValidationInterface.
func (antiAffinity) Validate(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok || pod.Spec.Affinity == nil || pod.Spec.Affinity.PodAntiAffinity == nil {
		return nil
	}
	for _, term := range pod.Spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		if term.TopologyKey != corev1.LabelHostname {
			return apierrors.NewForbidden(a.GetResource().GroupResource(), pod.Name, fmt.Errorf(
				"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey %v but only key %v is allowed", term.TopologyKey, corev1.LabelHostname))
		}
	}
	return nil
}

// extendedResources lets pods that ask for a device on nodes that are tainted for
// those.
type extendedResources struct{ createOrUpdate }

// Admit implements admission.MutationInterface.
func (extendedResources) Admit(_ context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	pod, ok := of[corev1.Pod](a, "pods")
	if !ok {
		return nil
	}
	asked := sets.New[string]()
	for _, c := range slices.Concat(pod.Spec.Containers, pod.Spec.InitContainers) {
		for name := range c.Resources.Requests {
			if isExtended(name) {
				asked.Insert(string(name))
			}
		}
	}
	for _, name := range sets.List(asked) {
		t := corev1.Toleration{Key: name, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}
		has := func(other corev1.Toleration) bool { return t.MatchToleration(&other) }
		if !slices.ContainsFunc(pod.Spec.Tolerations, has) {
			pod.Spec.Tolerations = append(pod.Spec.Tolerations, t)
		}
	}
	return nil
}

// isExtended says whether a resource is none of Kubernetes' own
// (https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#extended-resources).
func isExtended(name corev1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") && !strings.Contains(s, corev1.ResourceDefaultNamespacePrefix) &&
		!strings.HasPrefix(s, corev1.DefaultResourceRequestsPrefix) &&
		len(validation.IsQualifiedName(corev1.DefaultResourceRequestsPrefix+s)) == 0
}
