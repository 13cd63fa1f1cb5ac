package steps

import (
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// effectiveSecurity merges the pod's security context into the container's,
// which goes before.
func effectiveSecurity(pod *corev1.Pod, c *corev1.Container) *corev1.SecurityContext {
	out := &corev1.SecurityContext{}
	if c.SecurityContext != nil {
		out = c.SecurityContext.DeepCopy()
	}
	p := pod.Spec.SecurityContext
	if p == nil {
		return out
	}
	inherit(&out.RunAsUser, p.RunAsUser)
	inherit(&out.RunAsGroup, p.RunAsGroup)
	inherit(&out.RunAsNonRoot, p.RunAsNonRoot)
	inherit(&out.SeccompProfile, p.SeccompProfile)
	inherit(&out.AppArmorProfile, p.AppArmorProfile)
	inherit(&out.SELinuxOptions, p.SELinuxOptions)
	return out
}

func inherit[T any](to **T, from *T) {
	if *to == nil {
		*to = from
	}
}

// verifyNonRoot refuses a container that must not run as root and would, with
// the kubelet's messages.
func verifyNonRoot(pod *corev1.Pod, c *corev1.Container, sc *corev1.SecurityContext, imageUser string) error {
	if sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot {
		return nil
	}
	where := fmt.Sprintf("(pod: \"%s_%s(%s)\", container: %s)", pod.Name, pod.Namespace, pod.UID, c.Name)
	if sc.RunAsUser != nil {
		if *sc.RunAsUser == 0 {
			return fmt.Errorf("container's runAsUser breaks non-root policy %s", where)
		}
		return nil
	}
	user, _, _ := strings.Cut(imageUser, ":")
	if user == "" {
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	}
	uid, err := strconv.ParseInt(user, 10, 64)
	if err != nil {
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root %s", user, where)
	}
	if uid == 0 {
		return fmt.Errorf("container has runAsNonRoot and image will run as root %s", where)
	}
	return nil
}
