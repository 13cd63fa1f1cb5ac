package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/probe"
)

// Reasons of events of hooks.
const (
	FailedPostStartHook = "FailedPostStartHook"
	FailedPreStopHook   = "FailedPreStopHook"
	HTTPFallback        = "LifecycleHTTPFallback"
)

// PostStartHookError is the reason of a container that waits because its
// postStart hook failed.
const PostStartHookError = "PostStartHookError"

// Hooks calls hooks.
type Hooks struct {
	Exec probe.Execer
	// Event records an event of a hook that succeeded only in another way than
	// it was written; may be nil.
	Event func(t Target, eventType, reason, message string)
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
	Reason string // of the Warning event
	Event  string // its message, which does not tell what the hook said
	Detail string // the status message of the container
	Err    error
}

func (e *Error) Error() string { return e.Detail }
func (e *Error) Unwrap() error { return e.Err }

// PostStart calls the postStart hook, if there is one. The error is an *[Error].
func (h *Hooks) PostStart(ctx context.Context, t Target) error {
	if t.Container.Lifecycle == nil || t.Container.Lifecycle.PostStart == nil {
		return nil
	}
	if err := h.call(ctx, t, t.Container.Lifecycle.PostStart); err != nil {
		return &Error{Reason: FailedPostStartHook, Event: "PostStartHook failed", Detail: err.Error(), Err: err}
	}
	return nil
}

// PreStop calls the preStop hook, if there is one, and returns when it has
// ended or ctx has; ctx is limited to the grace period by the caller. The
// error is an *[Error].
func (h *Hooks) PreStop(ctx context.Context, t Target) error {
	if t.Container.Lifecycle == nil || t.Container.Lifecycle.PreStop == nil {
		return nil
	}
	if err := h.call(ctx, t, t.Container.Lifecycle.PreStop); err != nil {
		return &Error{Reason: FailedPreStopHook, Event: "PreStopHook failed", Detail: err.Error(), Err: err}
	}
	return nil
}

func (h *Hooks) call(ctx context.Context, t Target, hook *corev1.LifecycleHandler) error {
	pod := fmt.Sprintf("%s_%s(%s)", t.Pod.Name, t.Pod.Namespace, t.Pod.UID)
	switch {
	case hook.Exec != nil:
		output, err := h.exec(ctx, t, hook.Exec.Command)
		if err != nil {
			return fmt.Errorf("Exec lifecycle hook (%v) for Container %q in Pod %q failed - error: %w, message: %q", // the kubelet's message
				hook.Exec.Command, t.Container.Name, pod, err, output)
		}
		return nil
	case hook.HTTPGet != nil:
		if err := h.get(ctx, t, hook.HTTPGet); err != nil {
			return fmt.Errorf("HTTP lifecycle hook (%s) for Container %q in Pod %q failed - error: %w", // the kubelet's message
				hook.HTTPGet.Path, t.Container.Name, pod, err)
		}
		return nil
	case hook.Sleep != nil:
		if err := sleep(ctx, hook.Sleep.Seconds); err != nil {
			return fmt.Errorf("Sleep lifecycle hook (%d) for Container %q in Pod %q failed - error: %w", // the kubelet's message
				hook.Sleep.Seconds, t.Container.Name, pod, err)
		}
		return nil
	}
	// tcpSocket is allowed by the API for old objects only, and does nothing.
	return fmt.Errorf("Cannot run handler: invalid handler: %v", hook) // the kubelet's message
}

// exec runs a command in the container. Only variables whose values stand in
// the pod's spec are expanded in it.
func (h *Hooks) exec(ctx context.Context, t Target, command []string) (string, error) {
	if h.Exec == nil {
		return "", errors.New("this node runs no commands in containers")
	}
	static := make([]string, 0, len(t.Container.Env))
	for _, e := range t.Container.Env {
		static = append(static, e.Name+"="+e.Value)
	}
	words := environment.ExpandCommand(command, static)
	code, output, err := h.Exec.ExecProbe(ctx, t.ID, words)
	switch {
	case ctx.Err() != nil:
		return string(output), fmt.Errorf("command %q timed out", strings.Join(words, " "))
	case err != nil:
		return string(output), err
	case code != 0:
		return string(output), fmt.Errorf("command '%s' exited with %d: %s", strings.Join(words, " "), code, output)
	}
	return string(output), nil
}

// get sends the request of a hook. As with the kubelet any answer will do,
// whatever its status, and a server that speaks plain HTTP where HTTPS was
// asked for is asked again in plain.
func (h *Hooks) get(ctx context.Context, t Target, action *corev1.HTTPGetAction) error {
	req, err := probe.NewRequest(action, t.Container, t.PodIP, "lifecycle")
	if err != nil {
		return err
	}
	transport := probe.NewTransport()
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	err = do(client, req.WithContext(ctx))
	if err == nil || req.URL.Scheme != "https" || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		return err
	}
	plain := req.Clone(ctx)
	plain.URL.Scheme = "http"
	// What was meant for an encrypted connection must not go over this one.
	plain.Header.Del("Authorization")
	if do(client, plain) != nil {
		return err
	}
	if h.Event != nil {
		h.Event(t, corev1.EventTypeWarning, HTTPFallback,
			fmt.Sprintf("request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", req.URL.Host))
	}
	return nil
}

func do(client *http.Client, req *http.Request) error {
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	// Reading a little lets the server end in its own time.
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 10<<10))
	return errors.Join(err, res.Body.Close())
}

func sleep(ctx context.Context, seconds int64) error {
	timer := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return errors.New("container terminated before sleep hook completed")
	}
}
