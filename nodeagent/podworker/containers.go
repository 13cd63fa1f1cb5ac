package podworker

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// IsSidecar says whether an init container goes on beside the regular ones.
func IsSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// Latest gives the newest container of a name, nil if there is none.
func Latest(containers []runtime.Container, kind runtime.ContainerKind, name string) *runtime.Container {
	var found *runtime.Container
	for i := range containers {
		c := &containers[i]
		if c.Name == name && c.Kind == kind && (found == nil || newer(c, found)) {
			found = c
		}
	}
	return found
}

func newer(a, b *runtime.Container) bool {
	if a.Attempt != b.Attempt {
		return a.Attempt > b.Attempt
	}
	return a.CreatedAt.After(b.CreatedAt)
}

// Previous gives the container before the newest one.
func Previous(containers []runtime.Container, kind runtime.ContainerKind, name string) *runtime.Container {
	newest := Latest(containers, kind, name)
	if newest == nil {
		return nil
	}
	others := slices.DeleteFunc(slices.Clone(containers), func(c runtime.Container) bool { return c.ID == newest.ID })
	return Latest(others, kind, name)
}

// EphemeralContainer gives an ephemeral container as a regular one.
func EphemeralContainer(e *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&e.EphemeralContainerCommon)
}

// mayRestart says whether a container of the pod is started again after it
// ended with a code.
func mayRestart(pod *corev1.Pod, c *corev1.Container, kind runtime.ContainerKind, exitCode int) bool {
	policy := pod.Spec.RestartPolicy
	if c.RestartPolicy != nil {
		for _, rule := range c.RestartPolicyRules {
			if rule.Action == corev1.ContainerRestartRuleActionRestart && rule.ExitCodes != nil {
				in := slices.Contains(rule.ExitCodes.Values, int32(exitCode))
				if in == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
					return true
				}
			}
		}
		policy = corev1.RestartPolicy(*c.RestartPolicy)
	}
	switch {
	case kind == runtime.Ephemeral:
		return false
	case policy == corev1.RestartPolicyNever:
		return false
	case policy == corev1.RestartPolicyOnFailure, kind == runtime.Init && !IsSidecar(c):
		return exitCode != 0
	}
	return true
}

// ofThisSandbox says whether a container was made for the present sandbox: one
// from before a reboot counts for nothing.
func ofThisSandbox(c *runtime.Container, sandbox *runtime.Sandbox) bool {
	return sandbox != nil && !c.CreatedAt.Before(sandbox.CreatedAt.Add(-time.Millisecond))
}

// attempt is the number of a container's next start: records may have been
// lost, then the status knows.
func attempt(pod *corev1.Pod, name string, latest *runtime.Container) int {
	if latest != nil {
		return latest.Attempt + 1
	}
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for _, s := range list {
			if s.Name == name && s.ContainerID != "" {
				return int(s.RestartCount) + 1
			}
		}
	}
	return 0
}
