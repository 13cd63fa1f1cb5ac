//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	apitask "github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/typeurl/v2"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

const (
	// exitUnknown is the exit code of a container that vanished, as CRI
	// implementations report it.
	exitUnknown = 255
	exitKilled  = 128 + 9
)

// exit is how a container ended.
type exit struct {
	code, signal int
	at           time.Time
	message      string
}

func (r *Runtime) handleEvent(ctx context.Context, e *events.Envelope) error {
	if e == nil || e.Event == nil {
		return nil
	}
	event, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		return fmt.Errorf("decode event: %w", err)
	}
	switch e := event.(type) {
	case *eventsapi.TaskExit:
		if e.ID != e.ContainerID {
			return nil // an exec
		}
		c, err := r.get(e.ContainerID)
		if errors.Is(err, runtime.ErrNotFound) {
			return nil // not ours, or removed
		}
		// Recording waits for output and for containerd: other events go on.
		go r.recordExit(ctx, c, exit{code: int(e.ExitStatus), at: e.ExitedAt.AsTime()})
	case *eventsapi.TaskOOM:
		if c, err := r.get(e.ContainerID); err == nil {
			r.mu.Lock()
			c.OOMKilled = c.OOMKilled || c.State == runtime.Running && r.killedByOOM(c)
			r.mu.Unlock()
		}
	}
	return nil
}

// killedByOOM looks at the container's cgroup, which is there until its task
// is deleted.
func (r *Runtime) killedByOOM(c *container) bool {
	rec, err := r.record(c.SandboxID)
	return err == nil && r.cgroup.oomKills(rec.CgroupParent, c.ID) > 0
}

// recordExit settles a container's end, once: memory kill, rest of the output,
// state on disk; then it is Exited for everybody.
func (r *Runtime) recordExit(ctx context.Context, c *container, e exit) {
	r.mu.Lock()
	if c.exiting || c.State == runtime.Exited {
		r.mu.Unlock()
		return
	}
	c.exiting = true
	hasTask := c.hasTask
	if seen, ok := c.witness.exit(); ok && e.code == exitUnknown {
		e.code, e.signal, e.message = seen.code, seen.signal, ""
	}
	c.closeWitness()
	r.mu.Unlock()

	// 137 is SIGKILL: a container whose child was killed for memory but which
	// ended by itself was not.
	oom := e.code == exitKilled && r.killedByOOM(c)
	if hasTask {
		// Deleting waits until the shim has copied all output.
		if err := r.deleteTask(ctx, c.SandboxID, c.ID); err != nil {
			klog.FromContext(ctx).Error(err, "Deleting task of ended container", "container", c.ID)
		}
	}
	r.logs.finish(c.ID)

	r.mu.Lock()
	c.State = runtime.Exited
	c.PID = 0
	c.hasTask = false
	c.ExitCode, c.FinishedAt, c.Message = e.code, e.at.UTC(), e.message
	// A shell's convention, which containerd follows: 128 and the signal.
	if e.signal == 0 && e.code > 128 && e.code < 128+65 && e.message == "" {
		e.signal = e.code - 128
	}
	c.Signal = e.signal
	if c.StartedAt.IsZero() && e.message == "" {
		c.StartedAt = c.FinishedAt // it ended before Start could say that it runs
	}
	c.OOMKilled = c.OOMKilled || oom
	r.mu.Unlock()
	if err := r.saveState(c); err != nil {
		klog.FromContext(ctx).Error(err, "Saving end of container", "container", c.ID)
	}
	r.mu.Lock()
	c.closeDone()
	r.mu.Unlock()
	r.notify(c.ID)
}

// resyncTask brings a container in line with its task in containerd.
func (r *Runtime) resyncTask(ctx context.Context, c *container, t *apitask.Process, settled, known bool) {
	if settled {
		if c.State == runtime.Exited && t.Status == apitask.Status_STOPPED {
			if err := r.deleteTask(ctx, c.SandboxID, c.ID); err != nil {
				klog.FromContext(ctx).Error(err, "Deleting task of ended container", "container", c.ID)
			}
		}
		return
	}
	r.mu.Lock()
	c.hasTask = true
	if !known {
		c.PID, c.witness = int(t.Pid), observe(int(t.Pid))
	}
	r.mu.Unlock()
	if !known {
		if err := r.logs.resume(r.ioDir(c.ID), c); err != nil {
			klog.FromContext(ctx).Error(err, "Following output of container", "container", c.ID)
		}
	}
	switch t.Status {
	case apitask.Status_STOPPED:
		r.recordExit(ctx, c, exit{code: int(t.ExitStatus), at: t.ExitedAt.AsTime()})
	case apitask.Status_RUNNING:
		r.mu.Lock()
		if c.State != runtime.Running {
			// Started just before a crash of the agent.
			c.State = runtime.Running
			if c.StartedAt.IsZero() {
				c.StartedAt = c.CreatedAt
			}
		}
		r.mu.Unlock()
	}
}
