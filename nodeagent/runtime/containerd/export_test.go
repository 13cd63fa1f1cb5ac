//go:build linux

package containerd

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/containerd/containerd/v2/pkg/namespaces"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// EndBeforeStart is a container whose end containerd tells of before Start is done,
// or, with a message, which could not be started.
func EndBeforeStart(ctx context.Context, dir, message string, at time.Time) (runtime.Container, error) {
	if err := os.MkdirAll(filepath.Join(dir, "containers"), 0o755); err != nil {
		return runtime.Container{}, err
	}
	r := &Runtime{cfg: Config{StateDir: dir}, logs: &copier{byID: map[string]*output{}}}
	c := &container{Container: runtime.Container{ID: "c", State: runtime.Created}, done: make(chan struct{}), witness: none}
	r.recordExit(ctx, c, exit{code: 1, at: at, message: message})
	return c.Container, nil
}

// EndOf begins to observe a process that lives, and gives a way to ask for its
// exit code, and whether that is known.
func EndOf(pid int) func() (int, bool) {
	w := observe(pid)
	return func() (int, bool) {
		e, ok := w.exit()
		return e.code, ok
	}
}

// Resync compares all with containerd, as Run does each minute.
func (r *Runtime) Resync(ctx context.Context) error {
	return r.resync(namespaces.WithNamespace(ctx, containerdNamespace))
}
