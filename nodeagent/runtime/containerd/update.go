//go:build linux

package containerd

import (
	"context"
	"fmt"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Update implements runtime.Runtime.
func (r *Runtime) Update(ctx context.Context, id string, res runtime.Resources) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	c, err := r.get(id)
	if err != nil {
		return err
	}
	if err := r.running(id); err != nil {
		return err
	}
	limits := resources(res, r.cgroup.unified)
	if limits.Memory != nil {
		// Without this, version 2 kills the container instead.
		limits.Memory.CheckBeforeUpdate = new(true)
	}
	encoded, err := typeurl.MarshalAnyToProto(limits)
	if err != nil {
		return fmt.Errorf("encode limits of container: %w", err)
	}
	if _, err := r.tasks.Update(ctx, &tasksapi.UpdateTaskRequest{ContainerID: id, Resources: encoded}); err != nil {
		return fmt.Errorf("update container %s: %w", c.Name, errgrpc.ToNative(err))
	}
	r.mu.Lock()
	c.Resources = res
	r.mu.Unlock()
	return r.saveState(c)
}
