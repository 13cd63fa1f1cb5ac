package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/lifecycle"
	"github.com/skiffcluster/skiff/nodeagent/logs"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// startContainer brings one container from its image to its postStart hook.
func (s *Steps) startContainer(ctx context.Context, pod *corev1.Pod, a podworker.Action) (podworker.Result, error) {
	c := findContainer(pod, a.Container, a.Type)
	if c == nil {
		return podworker.Result{}, fmt.Errorf("container %q is not in the pod", a.Container)
	}
	if err := s.removeUnstarted(ctx, pod, a); err != nil {
		return podworker.Result{}, err
	}
	img, err := s.image(ctx, pod, c)
	if err != nil {
		return podworker.Result{}, err
	}
	ips, err := s.podIPs(ctx, pod)
	if err != nil {
		return podworker.Result{}, err
	}
	result := podworker.Result{PodIPs: ips}
	spec, err := s.containerSpec(ctx, pod, c, a, ips, &img)
	if err != nil {
		return result, s.failed(ctx, pod, c, podworker.CreateContainerConfigError, err)
	}
	id, err := s.cfg.Runtime.Create(ctx, *spec)
	if err != nil {
		return result, s.failed(ctx, pod, c, podworker.CreateContainerError, err)
	}
	s.cfg.Record(pod, c.Name, corev1.EventTypeNormal, "Created", "Container created")
	if err := s.connected(ctx, pod); err != nil {
		return result, err
	}
	if err := s.cfg.Runtime.Start(ctx, id); err != nil {
		return result, s.failed(ctx, pod, c, podworker.RunContainerError, err)
	}
	s.cfg.Record(pod, c.Name, corev1.EventTypeNormal, "Started", "Container started")
	if s.cfg.Hooks == nil || a.Type == runtime.Ephemeral {
		return result, nil
	}
	err = s.cfg.Hooks.PostStart(ctx, lifecycle.Target{Pod: pod, Container: c, ID: id, PodIP: first(ips)})
	var hook *lifecycle.Error
	if errors.As(err, &hook) {
		s.warn(pod, c.Name, hook.Reason, hook.Event)
		return result, &podworker.Error{Reason: podworker.PostStartHookError, Message: hook.Detail, Err: err}
	}
	return result, err
}

// removeUnstarted removes what an attempt that was cut off has left: it is not
// known how far it came.
func (s *Steps) removeUnstarted(ctx context.Context, pod *corev1.Pod, a podworker.Action) error {
	_, containers, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil {
		return err
	}
	for i := range containers {
		c := &containers[i]
		if c.Name == a.Container && c.Kind == a.Type && (c.State == runtime.Created || c.State == runtime.Unknown) {
			if err := s.cfg.Runtime.Remove(ctx, c.ID); err != nil {
				return fmt.Errorf("remove unstarted container %s: %w", c.Name, err)
			}
		}
	}
	return nil
}

func (s *Steps) failed(ctx context.Context, pod *corev1.Pod, c *corev1.Container, reason string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	s.warn(pod, c.Name, "Failed", "Error: "+err.Error())
	return &podworker.Error{Reason: reason, Message: err.Error(), Err: err}
}

// containerSpec resolves all that a container refers to.
func (s *Steps) containerSpec(ctx context.Context, pod *corev1.Pod, c *corev1.Container, a podworker.Action, ips []string, img *runtime.Image) (*runtime.ContainerSpec, error) {
	security := effectiveSecurity(pod, c)
	err := verifyNonRoot(pod, c, security, img.User)
	if err != nil {
		return nil, err
	}
	spec := &runtime.ContainerSpec{
		SandboxID:   sandboxID(pod),
		Name:        c.Name,
		Attempt:     a.Attempt,
		Kind:        a.Type,
		Image:       c.Image,
		Command:     c.Command,
		Args:        c.Args,
		WorkingDir:  c.WorkingDir,
		Stdin:       c.Stdin,
		StdinOnce:   c.StdinOnce,
		TTY:         c.TTY,
		Security:    security,
		PodSecurity: pod.Spec.SecurityContext,
		Resources:   resources.Container(pod, c),
		OOMScoreAdj: resources.OOMScoreAdj(pod, c, s.cfg.MemoryCapacity),
		LogPath:     logs.Path(s.cfg.LogDir, pod.Namespace, pod.Name, pod.UID, c.Name, a.Attempt),
		Hash:        podworker.Hash(c),
		Completes:   a.Type == runtime.Init && !podworker.IsSidecar(c),
		Annotations: pod.Annotations,
	}
	if a.Type == runtime.Ephemeral {
		if spec.Target, err = s.target(ctx, pod, c.Name); err != nil {
			return nil, err
		}
	}
	if s.cfg.Objects == nil {
		return spec, nil
	}
	env, warnings, err := environment.Variables(ctx, s.cfg.Objects, environment.Input{
		Pod: pod, Container: c, PodIPs: ips, HostIPs: s.cfg.HostIPs(), Allocatable: s.cfg.Allocatable(), Services: s.cfg.Services(pod.Namespace),
		VolumePath: func(name string) (string, error) { return s.cfg.Volumes.Path(ctx, pod, name) },
	})
	if err != nil {
		return nil, err
	}
	for _, w := range warnings {
		s.warn(pod, c.Name, w.Reason, w.Message)
	}
	spec.Env = env
	spec.Command, spec.Args = environment.ExpandCommand(c.Command, env), environment.ExpandCommand(c.Args, env)
	if s.cfg.Volumes != nil {
		mounts, err := s.cfg.Volumes.Mounts(ctx, pod, c, env)
		if err != nil {
			return nil, err
		}
		files, err := s.files(pod, c, a.Attempt, ips)
		if err != nil {
			return nil, err
		}
		spec.Mounts = append(mounts, files...)
	}
	return spec, nil
}

// target is the ID of the container whose processes an ephemeral one asks to
// see; empty: it asks for none.
func (s *Steps) target(ctx context.Context, pod *corev1.Pod, name string) (string, error) {
	at := slices.IndexFunc(pod.Spec.EphemeralContainers, func(e corev1.EphemeralContainer) bool { return e.Name == name })
	if at < 0 || pod.Spec.EphemeralContainers[at].TargetContainerName == "" {
		return "", nil
	}
	_, containers, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil {
		return "", err
	}
	return findTarget(containers, pod.Spec.EphemeralContainers[at].TargetContainerName)
}

// findTarget is the ID of the last container of a name.
func findTarget(containers []runtime.Container, name string) (string, error) {
	var last *runtime.Container
	for i := range containers {
		if c := &containers[i]; c.Name == name && (last == nil || c.Attempt > last.Attempt) {
			last = c
		}
	}
	if last == nil {
		return "", fmt.Errorf("unable to find target container %v", name)
	}
	return last.ID, nil
}

func findContainer(pod *corev1.Pod, name string, kind runtime.ContainerKind) *corev1.Container {
	switch kind {
	case runtime.Init:
		for i := range pod.Spec.InitContainers {
			if pod.Spec.InitContainers[i].Name == name {
				return &pod.Spec.InitContainers[i]
			}
		}
	case runtime.Ephemeral:
		for i := range pod.Spec.EphemeralContainers {
			if pod.Spec.EphemeralContainers[i].Name == name {
				return podworker.EphemeralContainer(&pod.Spec.EphemeralContainers[i])
			}
		}
	default:
		for i := range pod.Spec.Containers {
			if pod.Spec.Containers[i].Name == name {
				return &pod.Spec.Containers[i]
			}
		}
	}
	return nil
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
