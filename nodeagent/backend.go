package nodeagent

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/logs"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
	"github.com/skiffcluster/skiff/nodeagent/serve"
)

// backend is what the node's API shows and does.
type backend struct{ *Agent }

var _ serve.Backend = backend{}

// Pods implements serve.Backend.
func (b backend) Pods() []*corev1.Pod {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*corev1.Pod
	for _, w := range b.workers {
		if pod := w.Pod(); pod.Name != "" {
			out = append(out, b.writer.Latest(pod))
		}
	}
	slices.SortFunc(out, func(x, y *corev1.Pod) int {
		return strings.Compare(x.Namespace+"/"+x.Name, y.Namespace+"/"+y.Name)
	})
	return out
}

// Pod implements serve.Backend.
func (b backend) Pod(namespace, name string) (*corev1.Pod, bool) {
	for _, pod := range b.Pods() {
		if pod.Namespace == namespace && pod.Name == name {
			return pod, true
		}
	}
	return nil, false
}

// RunningPods implements serve.Backend.
func (b backend) RunningPods(ctx context.Context) ([]*corev1.Pod, error) {
	_, containers, err := b.engine.List(ctx)
	if err != nil {
		return nil, err
	}
	running := map[string]bool{}
	for i := range containers {
		if containers[i].State == runtime.Running {
			running[string(containers[i].PodUID)] = true
		}
	}
	return slices.DeleteFunc(b.Pods(), func(p *corev1.Pod) bool { return !running[string(p.UID)] }), nil
}

// Container implements serve.Backend.
func (b backend) Container(ctx context.Context, pod *corev1.Pod, name string) (string, error) {
	_, containers, err := b.engine.Pod(ctx, string(pod.UID))
	if err != nil {
		return "", err
	}
	for i := range containers {
		if containers[i].Name == name && containers[i].State == runtime.Running {
			return containers[i].ID, nil
		}
	}
	return "", fmt.Errorf("container not found (%q): %w", name, serve.ErrNotFound)
}

// Sandbox implements serve.Backend.
func (b backend) Sandbox(ctx context.Context, pod *corev1.Pod) (string, error) {
	sandbox, _, err := b.engine.Pod(ctx, string(pod.UID))
	if err != nil {
		return "", err
	}
	if sandbox == nil {
		return "", fmt.Errorf("pod %s/%s has no sandbox: %w", pod.Namespace, pod.Name, serve.ErrNotFound)
	}
	return sandbox.ID, nil
}

// Logs implements serve.Backend.
func (b backend) Logs(ctx context.Context, pod *corev1.Pod, name string, options *corev1.PodLogOptions, stdout, stderr io.Writer) error {
	id, err := logs.ContainerID(pod, name, options.Previous)
	if err != nil {
		return err
	}
	if s, ok := b.cfg.Runtime.(*simulated.Runtime); ok {
		return simulatedLog(s, id, options, stdout)
	}
	find := func() (runtime.Container, bool) {
		_, containers, err := b.engine.Pod(ctx, string(pod.UID))
		if err != nil {
			return runtime.Container{}, false
		}
		i := slices.IndexFunc(containers, func(c runtime.Container) bool { return c.ID == id })
		if i < 0 {
			return runtime.Container{}, false
		}
		return containers[i], true
	}
	c, ok := find()
	if !ok {
		return fmt.Errorf("container %q in pod %q is not available: %w", name, pod.Name, serve.ErrNotFound)
	}
	running := func() bool {
		c, ok := find()
		return ok && c.State == runtime.Running
	}
	return logs.Read(ctx, c.LogPath, options, running, stdout, stderr)
}

// simulatedLog writes the few lines that a container in memory has.
func simulatedLog(s *simulated.Runtime, id string, options *corev1.PodLogOptions, out io.Writer) error {
	text, err := s.Log(id)
	if err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		stamp, rest, _ := strings.Cut(line, " ")
		rest = strings.TrimPrefix(rest, "stdout F ")
		if options.Timestamps {
			rest = stamp + " " + rest
		}
		if _, err := io.WriteString(out, rest); err != nil {
			return fmt.Errorf("write log: %w", err)
		}
	}
	return nil
}

// Exec implements serve.Backend.
func (b backend) Exec(ctx context.Context, id string, e runtime.Exec) (int, error) {
	return b.engine.Exec(ctx, id, e)
}

// Attach implements serve.Backend.
func (b backend) Attach(ctx context.Context, id string, s runtime.Streams) error {
	return b.engine.Attach(ctx, id, s)
}

// PortForward implements serve.Backend.
func (b backend) PortForward(ctx context.Context, sandboxID string, port int32) (io.ReadWriteCloser, error) {
	return b.engine.PortForward(ctx, sandboxID, port)
}
