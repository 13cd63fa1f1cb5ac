package nodeagent

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsv1alpha1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Summary implements serve.Backend: what containers use, summed up for pods
// and for the node.
func (b backend) Summary(ctx context.Context) (*statsv1alpha1.Summary, error) {
	now := metav1.NewTime(b.cfg.Clock.Now())
	out := &statsv1alpha1.Summary{Node: statsv1alpha1.NodeStats{NodeName: b.cfg.NodeName, StartTime: now}}
	pods, err := b.RunningPods(ctx)
	if err != nil {
		return nil, err
	}
	var nodeUse usage
	out.Pods = []statsv1alpha1.PodStats{}
	for _, pod := range pods {
		stats, use, err := b.podStats(ctx, pod)
		if err != nil {
			return nil, err
		}
		nodeUse.add(use)
		out.Pods = append(out.Pods, stats)
	}
	out.Node.CPU, out.Node.Memory = nodeUse.cpuStats(now), nodeUse.memoryStats(now)
	if capacity := b.capacity.Memory().Value(); capacity > 0 {
		out.Node.Memory.AvailableBytes = new(uint64(capacity) - min(uint64(capacity), nodeUse.workingSet))
	}
	return out, nil
}

// usage is a sum over containers.
type usage struct{ cpu, memory, workingSet, rss, faults, majorFaults uint64 }

func (u *usage) add(o usage) {
	u.cpu += o.cpu
	u.memory += o.memory
	u.workingSet += o.workingSet
	u.rss += o.rss
	u.faults += o.faults
	u.majorFaults += o.majorFaults
}

func usageOf(s runtime.Stats) usage {
	return usage{s.CPUNanoseconds, s.MemoryUsage, s.MemoryWorkingSet, s.MemoryRSS, s.PageFaults, s.MajorPageFaults}
}

func (u *usage) cpuStats(t metav1.Time) *statsv1alpha1.CPUStats {
	return &statsv1alpha1.CPUStats{Time: t, UsageCoreNanoSeconds: &u.cpu}
}

func (u *usage) memoryStats(t metav1.Time) *statsv1alpha1.MemoryStats {
	return &statsv1alpha1.MemoryStats{
		Time: t, UsageBytes: &u.memory, WorkingSetBytes: &u.workingSet, RSSBytes: &u.rss, PageFaults: &u.faults, MajorPageFaults: &u.majorFaults,
	}
}

func (b backend) podStats(ctx context.Context, pod *corev1.Pod) (statsv1alpha1.PodStats, usage, error) {
	out := statsv1alpha1.PodStats{PodRef: statsv1alpha1.PodReference{Name: pod.Name, Namespace: pod.Namespace, UID: string(pod.UID)}}
	if pod.Status.StartTime != nil {
		out.StartTime = *pod.Status.StartTime
	}
	var sum usage
	_, containers, err := b.engine.Pod(ctx, string(pod.UID))
	if err != nil {
		return out, sum, err
	}
	now := metav1.NewTime(b.cfg.Clock.Now())
	for i := range containers {
		c := &containers[i]
		if c.State != runtime.Running {
			continue
		}
		s, err := b.engine.Stats(ctx, c.ID)
		if err != nil {
			continue // it ended meanwhile
		}
		use := usageOf(s)
		sum.add(use)
		at := metav1.NewTime(s.Time)
		out.Containers = append(out.Containers, statsv1alpha1.ContainerStats{
			Name: c.Name, StartTime: metav1.NewTime(c.StartedAt), CPU: use.cpuStats(at), Memory: use.memoryStats(at),
			Rootfs: &statsv1alpha1.FsStats{Time: at, UsedBytes: new(s.WritableBytes), InodesUsed: new(s.WritableInodes)},
		})
	}
	out.CPU, out.Memory = sum.cpuStats(now), sum.memoryStats(now)
	return out, sum, nil
}
