//go:build linux

package containerd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// savedState is what containerd does not remember of a container: when it
// started and how it ended. One small file each; not synced to disk, since
// after a crash of the machine the container is gone anyway.
type savedState struct {
	StartedAt  time.Time `json:"startedAt,omitzero"`
	FinishedAt time.Time `json:"finishedAt,omitzero"`
	Exited     bool      `json:"exited,omitempty"`
	ExitCode   int       `json:"exitCode,omitempty"`
	Signal     int       `json:"signal,omitempty"`
	OOMKilled  bool      `json:"oomKilled,omitempty"`
	Message    string    `json:"message,omitempty"`
	// Resources that it was given last.
	Resources runtime.Resources `json:"resources,omitzero"`
}

func (s *savedState) apply(c *runtime.Container) {
	c.StartedAt, c.FinishedAt = s.StartedAt, s.FinishedAt
	c.ExitCode, c.Signal, c.OOMKilled, c.Message = s.ExitCode, s.Signal, s.OOMKilled, s.Message
	c.Resources = s.Resources
	switch {
	case s.Exited:
		c.State = runtime.Exited
	case !s.StartedAt.IsZero():
		c.State = runtime.Running
	}
}

func stateOf(c *runtime.Container) *savedState {
	return &savedState{
		StartedAt: c.StartedAt, FinishedAt: c.FinishedAt, Exited: c.State == runtime.Exited,
		ExitCode: c.ExitCode, Signal: c.Signal, OOMKilled: c.OOMKilled, Message: c.Message,
		Resources: c.Resources,
	}
}

func (r *Runtime) statePath(id string) string {
	return filepath.Join(r.cfg.StateDir, "containers", id)
}

// saveState writes what is true of a container by now. One write at a time, so
// that an older state never replaces a newer one.
func (r *Runtime) saveState(c *container) error {
	c.saving.Lock()
	defer c.saving.Unlock()
	r.mu.Lock()
	s := stateOf(&c.Container)
	r.mu.Unlock()
	return writeJSON(r.statePath(c.ID), s)
}

func (r *Runtime) loadState(id string) (*savedState, error) {
	s := &savedState{}
	return s, readJSON(r.statePath(id), s)
}

// writeJSON replaces a file as a whole.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}
