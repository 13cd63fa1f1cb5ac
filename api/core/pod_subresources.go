package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kubectl/pkg/util/qos"

	"github.com/skiffcluster/skiff/api/validate"
)

// ValidateBinding checks a pod's way to a node: POST pods/NAME/binding.
func ValidateBinding(b *corev1.Binding) field.ErrorList {
	var e validate.Errors
	p := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		e.Add(field.ErrorList{field.NotSupported(p.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"})})
	}
	if b.Target.Name == "" {
		e.Required(p.Child("name"), "")
	} else if b.Target.Kind == "" || b.Target.Kind == "Node" {
		e.Name(p.Child("name"), b.Target.Name, apivalidation.NameIsDNSSubdomain)
	}
	return e.List()
}

// ValidateEviction checks a wish that a pod ends: POST pods/NAME/eviction. That
// its name is the one in the path is for the server to check, as for bindings.
func ValidateEviction(eviction *policyv1.Eviction) field.ErrorList {
	if eviction.DeleteOptions == nil {
		return nil
	}
	return metav1validation.ValidateDeleteOptions(eviction.DeleteOptions)
}

// ValidatePodLogOptions checks which part of a log is asked for.
func ValidatePodLogOptions(o *corev1.PodLogOptions) field.ErrorList {
	var e validate.Errors
	if n := o.TailLines; n != nil {
		e.Nonnegative(field.NewPath("tailLines"), *n)
	}
	if n := o.LimitBytes; n != nil && *n < 1 {
		e.Invalid(field.NewPath("limitBytes"), *n, "must be greater than 0")
	}
	switch n := o.SinceSeconds; {
	case n != nil && o.SinceTime != nil:
		e.Forbidden(field.NewPath(""), "at most one of `sinceTime` or `sinceSeconds` may be specified")
	case n != nil && *n < 1:
		e.Invalid(field.NewPath("sinceSeconds"), *n, "must be greater than 0")
	}
	if s := o.Stream; s != nil && *s != corev1.LogStreamAll {
		validate.Enum(&e, field.NewPath("stream"), *s, corev1.LogStreamStdout, corev1.LogStreamStderr, corev1.LogStreamAll)
		if o.TailLines != nil {
			e.Forbidden(field.NewPath(""), "`tailLines` and specific `stream` are mutually exclusive for now")
		}
	}
	return e.List()
}

// PrepareEphemeralContainersUpdate keeps all of the old pod but its ephemeral
// containers: PUT pods/NAME/ephemeralcontainers.
func PrepareEphemeralContainersUpdate(pod, old *corev1.Pod) {
	added := pod.Spec.EphemeralContainers
	pod.Spec, pod.Status = *old.Spec.DeepCopy(), *old.Status.DeepCopy()
	metav1.ResetObjectMetaForStatus(&pod.ObjectMeta, &old.ObjectMeta)
	pod.Spec.EphemeralContainers = added
	DropDisabledPodFields(&pod.Spec)
	countGeneration(pod, old)
}

// countGeneration counts changes of the spec in metadata.generation.
func countGeneration(pod, old *corev1.Pod) {
	pod.Generation = old.Generation
	if !apiequality.Semantic.DeepEqual(pod.Spec, old.Spec) {
		pod.Generation++
	}
}

// ValidateEphemeralContainersUpdate checks containers added for debugging.
// Those that are there stay as they are.
func ValidateEphemeralContainersUpdate(pod, old *corev1.Pod) field.ErrorList {
	var e validate.Errors
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		e.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")
		return e.List()
	}
	e.Add(validatePod(pod))
	e.Add(validateAnnotationUpdate(pod, old))
	p := field.NewPath("spec", "ephemeralContainers")
	now := map[string]*corev1.EphemeralContainer{}
	for i := range pod.Spec.EphemeralContainers {
		now[pod.Spec.EphemeralContainers[i].Name] = &pod.Spec.EphemeralContainers[i]
	}
	for _, was := range old.Spec.EphemeralContainers {
		if is := now[was.Name]; is == nil {
			e.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name))
		} else if !apiequality.Semantic.DeepEqual(was, *is) {
			e.Forbidden(p, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diff.Diff(was, *is)))
		}
	}
	return e.List()
}

// PrepareResizeUpdate keeps all of the old pod but its resources and resize
// policies: PUT pods/NAME/resize. Lists of containers that do not fit together
// are left for validation to report.
func PrepareResizeUpdate(pod, old *corev1.Pod) {
	is := pod.Spec.DeepCopy()
	if len(is.Containers) != len(old.Spec.Containers) || len(is.InitContainers) != len(old.Spec.InitContainers) {
		return
	}
	pod.Spec, pod.Status = *old.Spec.DeepCopy(), *old.Status.DeepCopy()
	metav1.ResetObjectMetaForStatus(&pod.ObjectMeta, &old.ObjectMeta)
	if is.Resources != nil { // else it comes from a client that does not know of them
		pod.Spec.Resources = is.Resources
	}
	pod.Spec.Containers = resized(is.Containers, pod.Spec.Containers)
	pod.Spec.InitContainers = resized(is.InitContainers, pod.Spec.InitContainers)
	defaultPodResources(pod)
	countGeneration(pod, old)
}

// resized are the old containers with the new resources, or the new ones when
// they are not the same.
func resized(is, was []corev1.Container) []corev1.Container {
	for i := range is {
		if is[i].Name != was[i].Name {
			return is
		}
	}
	for i := range is {
		was[i].Resources, was[i].ResizePolicy = is[i].Resources, is[i].ResizePolicy
	}
	return was
}

// ValidateResizeUpdate checks a change of resources of a running pod: of
// processors and memory, for containers that run on.
// See https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources.
func ValidateResizeUpdate(pod, old *corev1.Pod) field.ErrorList {
	r := &resize{pod: pod, old: old, fld: field.NewPath("spec")}
	if _, static := old.Annotations[corev1.MirrorPodAnnotationKey]; static {
		r.Forbidden(field.NewPath(""), "static pods cannot be resized")
		return r.List()
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		r.Forbidden(field.NewPath(""), "windows pods cannot be resized")
		return r.List()
	}
	r.Add(validatePod(pod))
	if qos.GetPodQOS(old) != QOSClass(pod) {
		r.Invalid(r.fld, pod.Status.QOSClass, "Pod QOS Class may not change as a result of resizing")
	}
	if !nodeResizes(old) {
		r.Forbidden(r.fld, "Pod running on node without support for resize")
	}
	rest := pod.Spec.DeepCopy()
	r.checkWhole(rest)
	if r.sameContainers() {
		r.checkContainers(rest)
	}
	if r.Len() == 0 && !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		r.Forbidden(r.fld, onlyCPUAndMemory)
	}
	return r.List()
}

const onlyCPUAndMemory = "only cpu and memory resources are mutable"

// resize is one change of resources under validation.
type resize struct {
	validate.Errors
	pod, old *corev1.Pod
	fld      *field.Path
}

// nodeResizes tells whether the node reports resources of a container that
// runs, which those do that can change them.
func nodeResizes(pod *corev1.Pod) bool {
	for _, c := range pod.Status.ContainerStatuses {
		if c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

// checkWhole checks resources of the pod as a whole. What it allows is set
// back in rest.
func (r *resize) checkWhole(rest *corev1.PodSpec) {
	is, was, p := r.pod.Spec.Resources, r.old.Spec.Resources, r.fld.Child("resources")
	if is == nil && was == nil {
		return
	}
	if is == nil {
		r.Forbidden(p, "pod-level resources cannot be removed")
		return
	}
	if was == nil {
		was = &corev1.ResourceRequirements{}
	}
	if removed(is.Requests, was.Requests) {
		r.Forbidden(p.Child("requests"), "pod-level resource requests cannot be removed")
	}
	if removed(is.Limits, was.Limits) {
		r.Forbidden(p.Child("limits"), "pod-level resource limits cannot be removed")
	}
	setBack(rest.Resources, was)
	if !apiequality.Semantic.DeepEqual(rest.Resources, was) {
		r.Forbidden(r.fld, "only cpu and memory resources are mutable at pod-level")
	}
	rest.Resources = r.old.Spec.Resources
}

// sameContainers tells whether the lists can be compared entry by entry.
func (r *resize) sameContainers() bool {
	before := r.Len()
	for _, list := range []struct {
		name    string
		is, was []corev1.Container
	}{
		{"containers", r.pod.Spec.Containers, r.old.Spec.Containers},
		{"initContainers", r.pod.Spec.InitContainers, r.old.Spec.InitContainers},
	} {
		p := r.fld.Child(list.name)
		if len(list.is) != len(list.was) {
			r.Forbidden(p, list.name+" may not be added or removed on resize")
			continue
		}
		for i := range list.is {
			if list.is[i].Name != list.was[i].Name {
				r.Forbidden(p.Index(i).Child("name"), list.name+" may not be renamed or reordered on resize")
			}
		}
	}
	return r.Len() == before
}

func (r *resize) checkContainers(rest *corev1.PodSpec) {
	for i := range rest.InitContainers {
		c, was, p := &rest.InitContainers[i], &r.old.Spec.InitContainers[i], r.fld.Child("initContainers").Index(i)
		r.checkContainer(c, was, p)
		if !apiequality.Semantic.DeepEqual(c, was) {
			r.Forbidden(p, "only cpu and memory resources for init or sidecar containers are mutable")
		}
	}
	for i := range rest.Containers {
		c, was := &rest.Containers[i], &r.old.Spec.Containers[i]
		r.checkContainer(c, was, r.fld.Child("containers").Index(i))
		if !apiequality.Semantic.DeepEqual(c, was) {
			r.Forbidden(r.fld, onlyCPUAndMemory)
		}
	}
}

// checkContainer reports what is removed. What it allows is set back in c.
func (r *resize) checkContainer(c, was *corev1.Container, p *field.Path) {
	if removed(c.Resources.Requests, was.Resources.Requests) {
		r.Forbidden(p.Child("resources", "requests"), "resource requests cannot be removed")
	}
	if removed(c.Resources.Limits, was.Resources.Limits) {
		r.Forbidden(p.Child("resources", "limits"), "resource limits cannot be removed")
	}
	setBack(&c.Resources, &was.Resources)
}

// removed tells whether a list lost a resource.
func removed(is, was corev1.ResourceList) bool {
	for name := range was {
		if _, kept := is[name]; !kept {
			return true
		}
	}
	return false
}

// setBack makes processors and memory what they were.
func setBack(is, was *corev1.ResourceRequirements) {
	for _, list := range []struct {
		is  *corev1.ResourceList
		was corev1.ResourceList
	}{{&is.Requests, was.Requests}, {&is.Limits, was.Limits}} {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			delete(*list.is, name)
			if q, set := list.was[name]; set {
				addMissing(list.is, name, q)
			}
		}
	}
}
