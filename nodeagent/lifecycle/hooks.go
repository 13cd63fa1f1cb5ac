package lifecycle

import (
	"context"

	corev1 "k8s.io/api/core/v1"
)

// Reasons of events and of containers whose hooks failed.
const (
	FailedPostStartHook = "FailedPostStartHook"
	FailedPreStopHook   = "FailedPreStopHook"
)

// Execer runs a command in a container. The error is not nil only where the
// command could not be run; a context that ends kills it.
type Execer interface {
	ExecProbe(ctx context.Context, containerID string, command []string) (exitCode int, output []byte, err error)
}

// Hooks calls hooks.
type Hooks struct {
	Exec Execer
}

// Target is the container that a hook belongs to.
type Target struct {
	Pod       *corev1.Pod
	Container *corev1.Container
	ID        string // of the runtime
	PodIP     string // asked where a hook names no host
}

// Error is a hook that failed.
type Error struct {
	Reason  string // of the Warning event
	Message string // of the event
	Err     error
}

func (e *Error) Error() string { return e.Message }
func (e *Error) Unwrap() error { return e.Err }

// PostStart calls the postStart hook, if there is one. The error is an *[Error].
func (h *Hooks) PostStart(ctx context.Context, t Target) error { return nil }

// PreStop calls the preStop hook, if there is one, and returns when it has
// ended or ctx has; ctx is limited to the grace period by the caller. The
// error is an *[Error].
func (h *Hooks) PreStop(ctx context.Context, t Target) error { return nil }
