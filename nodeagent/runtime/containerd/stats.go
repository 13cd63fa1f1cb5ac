//go:build linux

package containerd

import (
	"context"
	"fmt"
	"time"

	cgroup1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	cgroup2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/typeurl/v2"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Stats implements runtime.Runtime.
func (r *Runtime) Stats(ctx context.Context, id string) (runtime.Stats, error) {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	if err := r.running(id); err != nil {
		return runtime.Stats{}, err
	}
	resp, err := r.tasks.Metrics(ctx, &tasksapi.MetricsRequest{Filters: []string{"id==" + id}})
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("read usage of container: %w", errgrpc.ToNative(err))
	}
	if len(resp.Metrics) == 0 {
		return runtime.Stats{}, fmt.Errorf("usage of container %q: %w", id, runtime.ErrNotFound)
	}
	data, err := typeurl.UnmarshalAny(resp.Metrics[0].Data)
	if err != nil {
		return runtime.Stats{}, fmt.Errorf("decode usage of container: %w", err)
	}
	out := runtime.Stats{Time: resp.Metrics[0].Timestamp.AsTime()}
	if out.Time.Unix() <= 0 {
		out.Time = time.Now()
	}
	switch m := data.(type) {
	case *cgroup1.Metrics:
		fromV1(&out, m)
	case *cgroup2.Metrics:
		fromV2(&out, m)
	default:
		return runtime.Stats{}, fmt.Errorf("decode usage of container: unknown type %T", data)
	}
	if usage, err := r.snapshotUsage(ctx, id); err == nil {
		out.WritableBytes, out.WritableInodes = uint64(usage.Size), uint64(usage.Inodes)
	}
	return out, nil
}

// workingSet is what the kernel can't reclaim at once: usage less inactive
// file cache, the kubelet's definition.
func workingSet(usage, inactiveFile uint64) uint64 {
	if inactiveFile > usage {
		return 0
	}
	return usage - inactiveFile
}

func fromV1(out *runtime.Stats, m *cgroup1.Metrics) {
	out.CPUNanoseconds = m.GetCPU().GetUsage().GetTotal()
	mem := m.GetMemory()
	out.MemoryUsage = mem.GetUsage().GetUsage()
	out.MemoryWorkingSet = workingSet(out.MemoryUsage, mem.GetTotalInactiveFile())
	out.MemoryRSS = mem.GetTotalRSS()
	out.PageFaults, out.MajorPageFaults = mem.GetTotalPgFault(), mem.GetTotalPgMajFault()
	out.Pids = m.GetPids().GetCurrent()
	out.OOMs = m.GetMemoryOomControl().GetOomKill()
}

func fromV2(out *runtime.Stats, m *cgroup2.Metrics) {
	out.CPUNanoseconds = m.GetCPU().GetUsageUsec() * 1000
	mem := m.GetMemory()
	out.MemoryUsage = mem.GetUsage()
	out.MemoryWorkingSet = workingSet(out.MemoryUsage, mem.GetInactiveFile())
	out.MemoryRSS = mem.GetAnon()
	out.PageFaults, out.MajorPageFaults = mem.GetPgfault(), mem.GetPgmajfault()
	out.Pids = m.GetPids().GetCurrent()
	out.OOMs = m.GetMemoryEvents().GetOomKill()
}
