package nodeagent

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/eviction"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// evictions is what the evictor sees of the agent.
type evictions struct{ *Agent }

var _ eviction.Backend = evictions{}

// prepareEviction watches memory, disk and process numbers where pods are real.
func (a *Agent) prepareEviction() error {
	if a.cfg.inMemory() {
		return nil
	}
	warn := func(reason, message string) { a.events.Event(a.nodeRef(), corev1.EventTypeWarning, reason, message) }
	var err error
	a.imageGC, err = eviction.NewImages(eviction.ImagesConfig{Store: a.engine, Dir: a.cfg.DataDir, Event: warn, Clock: a.cfg.Clock})
	if err != nil {
		return err
	}
	a.evictor, err = eviction.New(eviction.Config{
		Backend: evictions{a}, DataDir: a.cfg.DataDir, ImageDir: a.cfg.DataDir, Images: a.imageGC, Event: warn, Clock: a.cfg.Clock,
	})
	return err
}

// collectImages removes unused images when the disk fills, once it is known
// which are used.
func (a *Agent) collectImages(ctx context.Context) error {
	select {
	case <-a.engine.ready:
		return a.imageGC.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// Pods implements eviction.Backend.
func (e evictions) Pods() []*corev1.Pod {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []*corev1.Pod
	for _, pod := range e.activePods() {
		if pod.Name != "" {
			out = append(out, pod)
		}
	}
	return out
}

// Usage implements eviction.Backend.
func (e evictions) Usage(ctx context.Context, uid types.UID) (eviction.Usage, bool) {
	w := e.worker(uid)
	if w == nil {
		return eviction.Usage{}, false
	}
	_, containers, err := e.engine.Pod(ctx, string(uid))
	if err != nil {
		return eviction.Usage{}, false
	}
	out := eviction.Usage{Containers: map[string]eviction.ContainerUsage{}, EmptyDirs: map[string]uint64{}}
	for i := range containers {
		c := &containers[i]
		used := out.Containers[c.Name]
		logs, _ := filepath.Glob(c.LogPath + "*") // the pattern is a path of ours
		for _, file := range logs {
			if info, err := os.Stat(file); err == nil {
				used.Disk += uint64(info.Size())
			}
		}
		if c.State == runtime.Running {
			s, err := e.engine.Stats(ctx, c.ID)
			if err != nil {
				return eviction.Usage{}, false
			}
			used.Memory += s.MemoryWorkingSet
			used.Disk += s.WritableBytes
			out.Memory += s.MemoryWorkingSet
			out.Pids += s.Pids
			out.Inodes += s.WritableInodes
		}
		out.Containers[c.Name] = used
	}
	for _, c := range out.Containers {
		out.Disk += c.Disk
	}
	pod := w.Pod()
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.Medium != corev1.StorageMediumDefault {
			continue
		}
		dir, err := e.volumes.Path(ctx, pod, v.Name)
		if err != nil {
			continue // not prepared
		}
		bytes, inodes := diskUse(dir)
		out.EmptyDirs[v.Name] = bytes
		out.Disk += bytes
		out.Inodes += inodes
	}
	return out, true
}

// diskUse adds up what is allocated below a directory; files that vanish
// meanwhile do not count.
func diskUse(dir string) (bytes, inodes uint64) {
	// Errors are of single entries: the rest still counts.
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // what goes away meanwhile does not count
		}
		inodes++
		if info, err := entry.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += uint64(st.Blocks) * 512 // the unit of st_blocks, stat(2)
			}
		}
		return nil
	})
	return bytes, inodes
}

// Evict implements eviction.Backend.
func (e evictions) Evict(ctx context.Context, pod *corev1.Pod, message string, grace time.Duration) error {
	w := e.worker(pod.UID)
	if w == nil {
		return nil
	}
	w.End(podworker.Ending{
		Reason: eviction.ReasonEvicted, Message: message, Grace: new(int64(grace / time.Second)),
		Condition: corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonTerminationByKubelet, Message: message,
		},
	})
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		_, containers, err := e.engine.Pod(ctx, string(pod.UID))
		if err != nil {
			return fmt.Errorf("evict pod %s/%s: %w", pod.Namespace, pod.Name, err)
		}
		running := false
		for i := range containers {
			running = running || containers[i].State == runtime.Running
		}
		if !running {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}
