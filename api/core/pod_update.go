package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// mutable is what users are told that may change in a pod. The list is shorter
// than what may: pods that wait behind a scheduling gate have some more.
var mutable = strings.Join([]string{
	"`spec.containers[*].image`",
	"`spec.initContainers[*].image`",
	"`spec.activeDeadlineSeconds`",
	"`spec.tolerations` (only additions to existing tolerations)",
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)",
}, ",")

// ValidatePodUpdate checks a change of a pod. The node that runs it cannot
// follow most changes, so that few are allowed
// (https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement).
// It allows for what it finds right and then wants the rest to be as it was.
func ValidatePodUpdate(pod, old *corev1.Pod) field.ErrorList {
	u := &podUpdate{spec: &pod.Spec, old: &old.Spec}
	u.Add(validateAnnotationUpdate(pod, old))
	if !u.sameContainers() || !u.checkDeadline() {
		return u.List()
	}
	u.checkTolerations()
	u.checkGates()
	if apiequality.Semantic.DeepEqual(u.spec, u.old) {
		return u.List()
	}
	rest := pod.Spec.DeepCopy()
	for i := range rest.Containers {
		rest.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range rest.InitContainers {
		rest.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	rest.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	rest.SchedulingGates = old.Spec.SchedulingGates
	rest.Tolerations = old.Spec.Tolerations
	if was, is := old.Spec.TerminationGracePeriodSeconds, rest.TerminationGracePeriodSeconds; was != nil && *was < 0 && is != nil && *is == 1 {
		rest.TerminationGracePeriodSeconds = was
	}
	if len(old.Spec.SchedulingGates) > 0 {
		u.checkGated(rest)
	}
	if !apiequality.Semantic.DeepEqual(rest, u.old) {
		u.Forbidden(field.NewPath("spec"), fmt.Sprintf("pod updates may not change fields other than %s\n%v", mutable, diff.Diff(old.Spec, *rest)))
	}
	return u.List()
}

// podUpdate is one change under validation.
type podUpdate struct {
	validate.Errors
	spec, old *corev1.PodSpec
}

// sameContainers tells whether the lists can be compared entry by entry.
func (u *podUpdate) sameContainers() bool {
	for _, list := range []struct {
		name    string
		is, was []corev1.Container
	}{
		{"containers", u.spec.Containers, u.old.Containers},
		{"initContainers", u.spec.InitContainers, u.old.InitContainers},
	} {
		p := field.NewPath("spec", list.name)
		if len(list.is) != len(list.was) {
			u.Forbidden(p, "pod updates may not add or remove containers")
			return false
		}
		for i, c := range list.is {
			u.Text(p.Index(i).Child("image"), c.Image)
			if strings.TrimSpace(c.Image) != c.Image {
				u.Invalid(p.Index(i).Child("image"), c.Image, "must not have leading or trailing whitespace")
			}
		}
	}
	return true
}

// checkDeadline lets a deadline be set and come nearer. It tells whether the
// rest is worth looking at.
func (u *podUpdate) checkDeadline() bool {
	p, is, was := field.NewPath("spec", "activeDeadlineSeconds"), u.spec.ActiveDeadlineSeconds, u.old.ActiveDeadlineSeconds
	switch {
	case is == nil && was != nil:
		u.Invalid(p, is, "must not update from a positive integer to nil value")
	case is == nil:
	case *is < 0 || *is > math.MaxInt32:
		u.Invalid(p, *is, validation.InclusiveRangeError(0, math.MaxInt32))
		return false
	case was != nil && *was < *is:
		u.Invalid(p, *is, "must be less than or equal to previous value")
		return false
	}
	return true
}

// checkTolerations lets tolerations be added, and their seconds change.
func (u *podUpdate) checkTolerations() {
	p := field.NewPath("spec", "tolerations")
	for _, was := range u.old.Tolerations {
		kept := slices.ContainsFunc(u.spec.Tolerations, func(is corev1.Toleration) bool {
			is.TolerationSeconds = was.TolerationSeconds
			return is == was
		})
		if !kept {
			u.Forbidden(p, "existing toleration can not be modified except its tolerationSeconds")
			return
		}
	}
	u.Add(ValidateTolerations(u.spec.Tolerations, p))
}

// checkGates lets scheduling gates be taken away.
func (u *podUpdate) checkGates() {
	for i, g := range u.spec.SchedulingGates {
		if !slices.Contains(u.old.SchedulingGates, g) {
			u.Forbidden(field.NewPath("spec", "schedulingGates").Index(i).Child("name"),
				fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", g.Name))
		}
	}
}

// checkGated lets the choice of nodes of a pod become narrower that is not
// scheduled yet. What it allows is set back in rest.
func (u *podUpdate) checkGated(rest *corev1.PodSpec) {
	for _, key := range validate.Keys(u.old.NodeSelector) {
		if v, set := rest.NodeSelector[key]; !set || v != u.old.NodeSelector[key] {
			u.Invalid(field.NewPath("spec", "nodeSelector"), rest.NodeSelector,
				"only additions to spec.nodeSelector are allowed (no mutations or deletions)")
			break
		}
	}
	rest.NodeSelector = u.old.NodeSelector

	is, was := nodeAffinity(rest), nodeAffinity(u.old)
	if apiequality.Semantic.DeepEqual(is, was) {
		return
	}
	u.checkNarrower(is, was)
	switch {
	case rest.Affinity == nil:
		rest.Affinity = &corev1.Affinity{NodeAffinity: was}
	case u.old.Affinity == nil && rest.Affinity.PodAffinity == nil && rest.Affinity.PodAntiAffinity == nil:
		rest.Affinity = nil
	default:
		rest.Affinity.NodeAffinity = was
	}
}

func nodeAffinity(spec *corev1.PodSpec) *corev1.NodeAffinity {
	if spec.Affinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity
}

// checkNarrower wants each term to have all it had, and perhaps more. Nodes
// match one term or another, so that another term would make the choice wider.
func (u *podUpdate) checkNarrower(is, was *corev1.NodeAffinity) {
	before, after := requiredTerms(was), requiredTerms(is)
	if len(before) == 0 {
		return
	}
	p := field.NewPath("spec", "affinity", "nodeAffinity", required, "nodeSelectorTerms")
	if len(before) != len(after) {
		u.Invalid(p, after, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")
		return
	}
	for i := range before {
		empty := len(before[i].MatchExpressions)+len(before[i].MatchFields) == 0
		// An empty term matches no node; with something in it it could.
		if empty && len(after[i].MatchExpressions)+len(after[i].MatchFields) > 0 ||
			!beginsWith(after[i].MatchExpressions, before[i].MatchExpressions) ||
			!beginsWith(after[i].MatchFields, before[i].MatchFields) {
			u.Invalid(p.Index(i), after[i], "only additions are allowed (no mutations or deletions)")
		}
	}
}

func requiredTerms(a *corev1.NodeAffinity) []corev1.NodeSelectorTerm {
	if a == nil || a.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	return a.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
}

func beginsWith(list, with []corev1.NodeSelectorRequirement) bool {
	return len(list) >= len(with) && apiequality.Semantic.DeepEqual(list[:len(with)], with)
}

// validateAnnotationUpdate keeps annotations that say how the pod was made.
func validateAnnotationUpdate(pod, old *corev1.Pod) field.ErrorList {
	var e validate.Errors
	fld := field.NewPath("metadata", "annotations")
	fixed := func(key string) (what string, isFixed bool) {
		if strings.HasPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix) {
			return "AppArmor annotations", true
		}
		return "mirror pod annotation", key == corev1.MirrorPodAnnotationKey
	}
	for _, key := range validate.Keys(old.Annotations) {
		v, kept := pod.Annotations[key]
		if what, isFixed := fixed(key); isFixed && (!kept || v != old.Annotations[key]) {
			e.Forbidden(fld.Key(key), "may not remove or update "+what)
		}
	}
	for _, key := range validate.Keys(pod.Annotations) {
		_, had := old.Annotations[key]
		if what, isFixed := fixed(key); isFixed && !had {
			e.Forbidden(fld.Key(key), "may not add "+what)
		}
	}
	return e.List()
}
