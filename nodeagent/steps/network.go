package steps

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/network"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// attachNetwork connects the sandbox and lets containers start.
func (s *Steps) attachNetwork(ctx context.Context, pod *corev1.Pod) (podworker.Result, error) {
	if pod.Spec.HostNetwork {
		g := s.gate(pod.UID)
		g.once.Do(func() { close(g.opened) })
		return podworker.Result{PodIPs: s.cfg.HostIPs()}, nil
	}
	sandbox, _, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil {
		return podworker.Result{}, err
	}
	if sandbox == nil {
		return podworker.Result{}, errors.New("the sandbox is gone")
	}
	ips, err := s.cfg.Network.Attach(ctx, network.Pod{
		ID: sandboxID(pod), Namespace: pod.Namespace, Name: pod.Name, NetNS: sandbox.NetNS, HostPorts: hostPorts(pod), Annotations: pod.Annotations,
	})
	if errors.Is(err, network.ErrMoved) {
		return podworker.Result{}, errors.Join(err, s.dropSandbox(ctx, pod))
	}
	if err == nil && s.cfg.Protect != nil {
		err = s.cfg.Protect(ctx, pod, ips)
	}
	if err != nil {
		if errors.Is(err, network.ErrNotReady) {
			s.warn(pod, "", "NetworkNotReady", "network is not ready: container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: "+err.Error())
		} else if ctx.Err() == nil {
			s.warn(pod, "", "FailedCreatePodSandBox", fmt.Sprintf("Failed to create pod sandbox: %v", err))
		}
		return podworker.Result{}, err
	}
	g := s.gate(pod.UID)
	g.once.Do(func() { close(g.opened) })
	return podworker.Result{PodIPs: texts(ips)}, nil
}

// dropSandbox ends what runs in a sandbox, and the sandbox: another is made, and
// the containers are started again in it.
func (s *Steps) dropSandbox(ctx context.Context, pod *corev1.Pod) error {
	s.cfg.Record(pod, "", corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	_, containers, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil {
		return err
	}
	var errs []error
	for i := range containers {
		if c := &containers[i]; c.State == runtime.Running {
			if err := s.cfg.Runtime.Kill(ctx, c.ID); !errors.Is(err, runtime.ErrNotFound) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(append(errs, s.cfg.Runtime.RemoveSandbox(ctx, sandboxID(pod)))...)
}

// podIPs are known before the pod is connected, where the network reserves
// them; else they are waited for.
func (s *Steps) podIPs(ctx context.Context, pod *corev1.Pod) ([]string, error) {
	if pod.Spec.HostNetwork {
		return s.cfg.HostIPs(), nil
	}
	ips, err := s.cfg.Network.Reserve(ctx, sandboxID(pod))
	if err == nil && len(ips) == 0 {
		if err = s.connected(ctx, pod); err == nil {
			ips, err = s.cfg.Network.Reserve(ctx, sandboxID(pod))
		}
	}
	return texts(ips), err
}

// connected waits until the pod is.
func (s *Steps) connected(ctx context.Context, pod *corev1.Pod) error {
	select {
	case <-s.gate(pod.UID).opened:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func texts(ips []netip.Addr) []string {
	out := make([]string, 0, len(ips))
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return out
}

func hostPorts(pod *corev1.Pod) []network.HostPort {
	var out []network.HostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			ip, _ := netip.ParseAddr(p.HostIP) // validated; invalid means all
			out = append(out, network.HostPort{Protocol: string(p.Protocol), HostIP: ip, HostPort: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort)})
		}
	}
	for i := range pod.Spec.InitContainers {
		add(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}
