package steps

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// makeSandbox makes namespaces and cgroup.
func (s *Steps) makeSandbox(ctx context.Context, pod *corev1.Pod) error {
	s.closeGate(pod.UID) // of a sandbox that was lost
	spec, err := s.sandboxSpec(pod)
	if err == nil {
		_, err = s.cfg.Runtime.EnsureSandbox(ctx, spec)
	}
	if err != nil && ctx.Err() == nil {
		s.warn(pod, "", "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
	}
	return err
}

func (s *Steps) sandboxSpec(pod *corev1.Pod) (runtime.SandboxSpec, error) {
	hostname, domain, err := environment.Hostname(pod, s.cfg.ClusterDomain)
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	name, err := environment.NodeName(pod, hostname, domain)
	if err != nil {
		return runtime.SandboxSpec{}, err
	}
	spec := runtime.SandboxSpec{
		ID: sandboxID(pod), Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, Hostname: name,
		HostNetwork: pod.Spec.HostNetwork, HostIPC: pod.Spec.HostIPC, HostPID: pod.Spec.HostPID,
		UserNamespace:         pod.Spec.HostUsers != nil && !*pod.Spec.HostUsers,
		ShareProcessNamespace: pod.Spec.ShareProcessNamespace != nil && *pod.Spec.ShareProcessNamespace,
		Sysctls:               map[string]string{},
		QOS:                   resources.QOS(pod),
		Resources:             resources.Pod(pod),
	}
	if sc := pod.Spec.SecurityContext; sc != nil {
		for _, ctl := range sc.Sysctls {
			spec.Sysctls[ctl.Name] = ctl.Value
		}
	}
	return spec, nil
}
