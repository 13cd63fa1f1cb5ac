package steps

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// resizePod brings the cgroups of a running pod to what it was allocated.
func (s *Steps) resizePod(ctx context.Context, pod *corev1.Pod) error {
	sandbox, containers, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil || sandbox == nil {
		return err
	}
	plan := resources.NewPlan(pod, sandbox, containers)
	has := sandbox.Resources
	if plan.Grow != nil {
		if err := s.cfg.Runtime.UpdateSandbox(ctx, sandbox.ID, *plan.Grow); err != nil {
			return err
		}
		has = *plan.Grow
	}
	if plan.Lowers(has) && s.cfg.Objects != nil { // pods in memory use none
		usage, err := s.memoryUsage(ctx, containers)
		if err != nil {
			return err
		}
		if err := plan.Check(usage, has); err != nil {
			return err
		}
	}
	for _, c := range plan.Containers {
		if err := s.cfg.Runtime.Update(ctx, c.ID, c.To); err != nil {
			return err
		}
	}
	if plan.Settle != nil {
		return s.cfg.Runtime.UpdateSandbox(ctx, sandbox.ID, *plan.Settle)
	}
	return nil
}

// memoryUsage gives what running containers use, in bytes by name.
func (s *Steps) memoryUsage(ctx context.Context, containers []runtime.Container) (map[string]uint64, error) {
	usage := map[string]uint64{}
	for i := range containers {
		c := &containers[i]
		if c.State != runtime.Running {
			continue
		}
		stats, err := s.cfg.Runtime.Stats(ctx, c.ID)
		if err != nil {
			return nil, fmt.Errorf("missing container %q memory usage: %w", c.Name, err)
		}
		usage[c.Name] = stats.MemoryUsage
	}
	return usage, nil
}
