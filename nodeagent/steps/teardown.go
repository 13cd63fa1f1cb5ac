package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/logs"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// removeContainer removes one that has ended, with its log.
func (s *Steps) removeContainer(ctx context.Context, pod *corev1.Pod, a podworker.Action) error {
	_, containers, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil {
		return err
	}
	for i := range containers {
		if c := &containers[i]; c.ID == a.ID {
			if err := s.remove(ctx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Steps) remove(ctx context.Context, c *runtime.Container) error {
	if err := s.cfg.Runtime.Remove(ctx, c.ID); err != nil && !errors.Is(err, runtime.ErrNotFound) {
		return err
	}
	if s.cfg.Volumes == nil || c.LogPath == "" {
		return nil
	}
	rotated, err := filepath.Glob(c.LogPath + ".*")
	if err != nil {
		return fmt.Errorf("list logs: %w", err)
	}
	for _, file := range append(rotated, c.LogPath) {
		if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove log: %w", err)
		}
	}
	return nil
}

// teardown disconnects the pod, takes its volumes away and removes its sandbox.
// Containers that have ended stay for who asks for their logs.
func (s *Steps) teardown(ctx context.Context, pod *corev1.Pod) error {
	s.closeGate(pod.UID)
	if !pod.Spec.HostNetwork {
		if err := s.cfg.Network.Detach(ctx, sandboxID(pod)); err != nil {
			return err
		}
	}
	if s.cfg.Volumes != nil {
		if err := s.cfg.Volumes.Teardown(pod.UID); err != nil {
			return err
		}
	}
	return s.cfg.Runtime.RemoveSandbox(ctx, sandboxID(pod))
}

// forget removes the rest of a pod that is gone from the API.
func (s *Steps) forget(ctx context.Context, pod *corev1.Pod) error {
	_, containers, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil {
		return err
	}
	for i := range containers {
		if err := s.remove(ctx, &containers[i]); err != nil {
			return err
		}
	}
	if s.cfg.Volumes == nil {
		return nil
	}
	if err := os.RemoveAll(logs.Dir(s.cfg.LogDir, pod.Namespace, pod.Name, pod.UID)); err != nil {
		return fmt.Errorf("remove logs: %w", err)
	}
	return nil
}
