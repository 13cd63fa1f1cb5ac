package steps

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/lifecycle"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// minSignalTime is what a container has between its signal and SIGKILL, also
// when its preStop hook took all of the grace period.
const minSignalTime = 2 * time.Second

// deadline of a kill that is under way; it can be brought forward.
type deadline struct {
	mu    sync.Mutex
	at    time.Time
	moved chan struct{}
}

func (d *deadline) get() (time.Time, <-chan struct{}) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.at, d.moved
}

// Hurry brings the deadline of a kill forward.
func (s *Steps) Hurry(a podworker.Action) {
	s.mu.Lock()
	d := s.kills[a.ID]
	s.mu.Unlock()
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if a.Deadline.Before(d.at) {
		d.at = a.Deadline
		close(d.moved)
		d.moved = make(chan struct{})
	}
}

// killContainer ends a container: hook, signal, and when the deadline is over
// SIGKILL. It returns when the container has ended.
func (s *Steps) killContainer(ctx context.Context, pod *corev1.Pod, a podworker.Action) error {
	d := &deadline{at: a.Deadline, moved: make(chan struct{})}
	s.mu.Lock()
	s.kills[a.ID] = d
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.kills, a.ID)
		s.mu.Unlock()
	}()
	s.cfg.Record(pod, a.Container, corev1.EventTypeNormal, "Killing", a.Message)
	c := findContainer(pod, a.Container, a.Type)
	if c != nil && s.cfg.Hooks != nil && a.Type != runtime.Ephemeral {
		s.preStop(ctx, pod, c, a, d)
	}
	name := ""
	if c != nil && c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		name = string(*c.Lifecycle.StopSignal)
	}
	err := s.cfg.Runtime.Signal(ctx, a.ID, name)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if s.waitEnded(ctx, pod, a.ID, d) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = s.cfg.Runtime.Kill(ctx, a.ID)
	if errors.Is(err, runtime.ErrNotFound) {
		return nil
	}
	return err
}

// preStop calls the hook, at most until the deadline.
func (s *Steps) preStop(ctx context.Context, pod *corev1.Pod, c *corev1.Container, a podworker.Action, d *deadline) {
	if c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return
	}
	hookCtx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		done <- s.cfg.Hooks.PreStop(hookCtx, lifecycle.Target{Pod: pod, Container: c, ID: a.ID, PodIP: pod.Status.PodIP})
	}()
	var err error
	for waiting := true; waiting; {
		at, moved := d.get()
		timer := s.cfg.Clock.NewTimer(max(0, at.Sub(s.cfg.Clock.Now())))
		select {
		case err = <-done:
			waiting = false
		case <-timer.C():
			cancel()
			err = <-done
			waiting = false
		case <-moved:
		}
		timer.Stop()
	}
	var hook *lifecycle.Error
	if errors.As(err, &hook) && ctx.Err() == nil {
		s.warn(pod, c.Name, hook.Reason, hook.Event)
	}
	d.mu.Lock()
	if least := s.cfg.Clock.Now().Add(minSignalTime); d.at.Before(least) {
		d.at = least
	}
	d.mu.Unlock()
}

// waitEnded waits for the container's end or the deadline, and says which.
func (s *Steps) waitEnded(ctx context.Context, pod *corev1.Pod, id string, d *deadline) bool {
	changed := make(chan struct{}, 1)
	watch, stop := context.WithCancel(ctx)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		// It ends with its context; what it misses in between is asked for below.
		_ = s.cfg.Runtime.Watch(watch, func(changedID string) {
			if changedID == id {
				select {
				case changed <- struct{}{}:
				default:
				}
			}
		})
	}()
	defer func() { stop(); <-watching }()
	for {
		if s.ended(ctx, pod, id) {
			return true
		}
		at, moved := d.get()
		left := at.Sub(s.cfg.Clock.Now())
		if left <= 0 {
			return false
		}
		// Looked at each second as well: the watch begins in the background.
		timer := s.cfg.Clock.NewTimer(min(left, time.Second))
		select {
		case <-changed:
		case <-moved:
		case <-timer.C():
		case <-ctx.Done():
			timer.Stop()
			return false
		}
		timer.Stop()
	}
}

func (s *Steps) ended(ctx context.Context, pod *corev1.Pod, id string) bool {
	_, containers, err := s.cfg.Runtime.Pod(ctx, sandboxID(pod))
	if err != nil {
		return false
	}
	for i := range containers {
		if containers[i].ID == id {
			return containers[i].State == runtime.Exited
		}
	}
	return true
}
