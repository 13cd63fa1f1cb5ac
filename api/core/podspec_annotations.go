package core

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// validatePodAnnotations checks annotations of a pod or template that mean
// something to Kubernetes.
func validatePodAnnotations(annotations map[string]string, spec *corev1.PodSpec, fld *field.Path) field.ErrorList {
	s := &podSpec{spec: spec}
	if v, mirror := annotations[corev1.MirrorPodAnnotationKey]; mirror && spec.NodeName == "" {
		s.Invalid(fld.Key(corev1.MirrorPodAnnotationKey), v, "must set spec.nodeName if mirror pod annotation is set")
	}
	if v := annotations[corev1.TolerationsAnnotationKey]; v != "" {
		var tolerations []corev1.Toleration
		if err := json.Unmarshal([]byte(v), &tolerations); err != nil {
			s.Invalid(fld, corev1.TolerationsAnnotationKey, err.Error())
		} else {
			s.Add(ValidateTolerations(tolerations, fld.Child(corev1.TolerationsAnnotationKey)))
		}
	}
	if v, set := annotations[corev1.PodDeletionCost]; set && !isDeletionCost(v) {
		s.Invalid(fld.Key(corev1.PodDeletionCost), v, "must be a 32bit integer")
	}
	if v, set := annotations[corev1.SeccompPodAnnotationKey]; set {
		s.checkSeccompName(fld.Child(corev1.SeccompPodAnnotationKey), v)
	}
	for _, key := range validate.Keys(annotations) {
		v := annotations[key]
		if strings.HasPrefix(key, corev1.SeccompContainerAnnotationKeyPrefix) {
			s.checkSeccompName(fld.Child(key), v)
		}
		name, found := strings.CutPrefix(key, corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix)
		if !found {
			continue
		}
		if !hasContainer(spec, name) {
			s.Invalid(fld.Key(key), name, "container not found")
		}
		if !isAppArmorName(v) {
			s.Invalid(fld.Key(key), v, fmt.Sprintf("invalid AppArmor profile name: %q", v))
		}
	}
	return s.List()
}

// isDeletionCost tells whether v is an integer as a ReplicaSet reads it: no
// plus sign, no leading zeros.
func isDeletionCost(v string) bool {
	if v == "" || v[0] == '+' || (v[0] == '0' && v != "0") {
		return false
	}
	_, err := strconv.ParseInt(v, 10, 32)
	return err == nil
}

// checkSeccompName checks a profile by the name that annotations give it.
func (s *podSpec) checkSeccompName(p *field.Path, name string) {
	switch local, found := strings.CutPrefix(name, corev1.SeccompLocalhostProfileNamePrefix); {
	case found:
		s.checkRelativePath(p, local)
	case name == corev1.SeccompProfileRuntimeDefault, name == corev1.DeprecatedSeccompProfileDockerDefault,
		name == corev1.SeccompProfileNameUnconfined:
	default:
		s.Invalid(p, name, "must be a valid seccomp profile")
	}
}

func isAppArmorName(name string) bool {
	return name == "" || name == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault ||
		name == corev1.DeprecatedAppArmorBetaProfileNameUnconfined ||
		strings.HasPrefix(name, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
}

// validateProfileAnnotations checks that the annotations of seccomp and
// AppArmor, which came before the fields, say the same as the fields.
func validateProfileAnnotations(meta *metav1.ObjectMeta, spec *corev1.PodSpec, fld *field.Path) field.ErrorList {
	var e validate.Errors
	var whole *corev1.PodSecurityContext
	if whole = spec.SecurityContext; whole == nil {
		whole = &corev1.PodSecurityContext{}
	}
	if a, set := meta.Annotations[corev1.SeccompPodAnnotationKey]; set {
		sameSeccomp(&e, fld.Child("securityContext", "seccompProfile"), a, whole.SeccompProfile)
	}
	for c, p := range containers(spec, fld) {
		var own corev1.SecurityContext
		if c.SecurityContext != nil {
			own = *c.SecurityContext
		}
		if a, set := meta.Annotations[corev1.SeccompContainerAnnotationKeyPrefix+c.Name]; set {
			sameSeccomp(&e, p.Child("securityContext", "seccompProfile"), a, own.SeccompProfile)
		}
		if spec.OS != nil && spec.OS.Name == corev1.Windows {
			continue
		}
		profile := own.AppArmorProfile
		if profile == nil {
			profile = whole.AppArmorProfile
		}
		if a, set := meta.Annotations[corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix+c.Name]; set {
			sameAppArmor(&e, p.Child("securityContext", "appArmorProfile"), a, profile)
		}
	}
	return e.List()
}

func sameSeccomp(e *validate.Errors, p *field.Path, annotation string, profile *corev1.SeccompProfile) {
	if profile == nil {
		return
	}
	local, isLocal := strings.CutPrefix(annotation, corev1.SeccompLocalhostProfileNamePrefix)
	same := true
	switch profile.Type {
	case corev1.SeccompProfileTypeUnconfined:
		same = annotation == corev1.SeccompProfileNameUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		same = annotation == corev1.SeccompProfileRuntimeDefault || annotation == corev1.DeprecatedSeccompProfileDockerDefault
	case corev1.SeccompProfileTypeLocalhost:
		same = isLocal
		if isLocal && (profile.LocalhostProfile == nil || *profile.LocalhostProfile != local) {
			e.Forbidden(p.Child("localhostProfile"), "seccomp profile in annotation and field must match")
		}
	}
	if !same {
		e.Forbidden(p.Child("type"), "seccomp type in annotation and field must match")
	}
}

func sameAppArmor(e *validate.Errors, p *field.Path, annotation string, profile *corev1.AppArmorProfile) {
	if profile == nil {
		return
	}
	local, isLocal := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	same := true
	switch profile.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		same = annotation == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
	case corev1.AppArmorProfileTypeRuntimeDefault:
		same = annotation == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
	case corev1.AppArmorProfileTypeLocalhost:
		same = isLocal
		if isLocal && (profile.LocalhostProfile == nil || *profile.LocalhostProfile != local) {
			e.Forbidden(p.Child("localhostProfile"), "apparmor profile in annotation and field must match")
		}
	}
	if !same {
		e.Forbidden(p.Child("type"), "apparmor type in annotation and field must match")
	}
}

// appArmorField is the profile that an annotation names; nil when it names
// none that a field could.
func appArmorField(annotation string) *corev1.AppArmorProfile {
	local, isLocal := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
	var p *corev1.AppArmorProfile
	switch {
	case annotation == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		p = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}
	case annotation == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault:
		p = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}
	case isLocal && local != "":
		p = &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &local}
	}
	if len(validateAppArmor(p, nil)) > 0 {
		return nil
	}
	return p
}
