package core_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/core"
)

func TestAnnotations(t *testing.T) {
	for _, r := range []row{
		{"a mirror is on a node", `{metadata: {annotations: {kubernetes.io/config.mirror: x}}}`, []string{`metadata.annotations[kubernetes.io/config.mirror]: Invalid value: "x": must set spec.nodeName if mirror pod annotation is set`}},
		{"a static pod has no claims", `{metadata: {annotations: {kubernetes.io/config.mirror: x}}, spec: {nodeName: n, resourceClaims: [{name: a, resourceClaimName: b}]}}`, []string{"[]: Forbidden: static pods do not support resource claims"}},
		{"a deletion cost is a number", `{metadata: {annotations: {controller.kubernetes.io/pod-deletion-cost: "+1"}}}`, []string{`metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "+1": must be a 32bit integer`}},
		{"a deletion cost is a small number", `{metadata: {annotations: {controller.kubernetes.io/pod-deletion-cost: "99999999999"}}}`, []string{`metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: "99999999999": must be a 32bit integer`}},
		{"a negative deletion cost is fine", `{metadata: {annotations: {controller.kubernetes.io/pod-deletion-cost: "-1"}}}`, nil},
		{"a seccomp profile is known", `{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: x}}}`, []string{`metadata.annotations.seccomp.security.alpha.kubernetes.io/pod: Invalid value: "x": must be a valid seccomp profile`}},
		{"a local seccomp profile stays inside", `{metadata: {annotations: {container.seccomp.security.alpha.kubernetes.io/c: localhost/../x}}}`, []string{`metadata.annotations.container.seccomp.security.alpha.kubernetes.io/c: Invalid value: "../x": must not contain '..'`}},
		{"an AppArmor profile is a container's", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/x: runtime/default}}}`, []string{`metadata.annotations[container.apparmor.security.beta.kubernetes.io/x]: Invalid value: "x": container not found`}},
		{"an AppArmor profile is known", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: strict}}}`, []string{`metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Invalid value: "strict": invalid AppArmor profile name: "strict"`}},
		{"tolerations are checked", `{metadata: {annotations: {scheduler.alpha.kubernetes.io/tolerations: '[{"key":"a","operator":"Like"}]'}}}`, []string{`metadata.annotations.scheduler.alpha.kubernetes.io/tolerations[0].operator: Unsupported value: "Like": supported values: "Equal", "Exists"`}},
		{"annotation and field of seccomp are the same", `{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: unconfined}}, spec: {securityContext: {seccompProfile: {type: RuntimeDefault}}}}`, []string{"spec.securityContext.seccompProfile.type: Forbidden: seccomp type in annotation and field must match"}},
		{"annotation and field of a local seccomp profile are the same", `{metadata: {annotations: {seccomp.security.alpha.kubernetes.io/pod: localhost/a}}, spec: {securityContext: {seccompProfile: {type: Localhost, localhostProfile: b}}}}`, []string{"spec.securityContext.seccompProfile.localhostProfile: Forbidden: seccomp profile in annotation and field must match"}},
		{"annotation and field of AppArmor are the same", `{metadata: {annotations: {container.apparmor.security.beta.kubernetes.io/c: unconfined}}, spec: {securityContext: {appArmorProfile: {type: RuntimeDefault}}}}`, []string{"spec.containers[0].securityContext.appArmorProfile.type: Forbidden: apparmor type in annotation and field must match"}},
	} {
		t.Run(r.name, func(t *testing.T) {
			same(t, texts(podKind.Validate(t.Context(), pod(t, r.yaml))), r.want)
		})
	}
}

func TestTemplate(t *testing.T) {
	for _, r := range []row{
		{"labels are checked", `{metadata: {labels: {a: "b c"}}}`, []string{`template.labels: Invalid value: "b c": ` + labelValueMsg}},
		{"annotations are checked", `{metadata: {annotations: {"a b": c}}}`, []string{`template.annotations: Invalid value: "a b": ` + labelKeyMsg}},
		{"the spec is checked", `{spec: {restartPolicy: Once}}`, []string{`template.spec.restartPolicy: Unsupported value: "Once": supported values: "Always", "OnFailure", "Never"`}},
		{"it has no ephemeral containers", `{spec: {ephemeralContainers: [{name: e, image: i}]}}`, []string{"template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template"}},
		{"its images may have blanks", `{spec: {containers: [{name: c, image: " "}]}}`, nil},
		{"its host ports may be missing", `{spec: {hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 80}]}]}}`, nil},
		{"its host ports are not wrong", `{spec: {hostNetwork: true, containers: [{name: c, image: i, ports: [{containerPort: 80, hostPort: 81}]}]}}`, []string{"template.spec.containers[0].ports[0].hostPort: Invalid value: 81: must match `containerPort` when `hostNetwork` is true"}},
		{"its grace may be negative", `{spec: {terminationGracePeriodSeconds: -1}}`, nil},
	} {
		t.Run(r.name, func(t *testing.T) {
			tmpl := decode(t, r.yaml, &corev1.PodTemplateSpec{})
			if tmpl.Spec.Containers == nil {
				tmpl.Spec.Containers = []corev1.Container{{Name: "c", Image: "i"}}
			}
			core.DefaultPodTemplate(tmpl)
			same(t, texts(core.ValidatePodTemplate(tmpl, field.NewPath("template"))), r.want)
		})
	}
}

func TestATemplateThatMayNotChange(t *testing.T) {
	old := &corev1.PodTemplateSpec{Spec: corev1.PodSpec{NodeName: "a"}}
	same(t, texts(core.ValidatePodTemplateUpdate(old.DeepCopy(), old, field.NewPath("template"))), nil)
	changed := old.DeepCopy()
	changed.Spec.NodeName = "b"
	errs := core.ValidatePodTemplateUpdate(changed, old, field.NewPath("template"))
	if len(errs) != 1 || errs[0].Type != field.ErrorTypeInvalid || errs[0].Detail != "field is immutable" {
		t.Errorf("Got %v, want that the field is immutable", errs)
	}
}
