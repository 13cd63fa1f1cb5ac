package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"time"
)

// profile is a named cluster on this machine: its data directory, and what
// runs in it.
type profile struct {
	name string
	dir  string
}

// run is written beside the data while a cluster runs.
type run struct {
	PID     int       `json:"pid"`
	Server  string    `json:"server"` // URL
	Nodes   []string  `json:"nodes,omitempty"`
	Runtime string    `json:"runtime"`
	Started time.Time `json:"started"`
	Ready   bool      `json:"ready"`
}

var profileName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)

// newProfileAt finds a profile's directory: dir when it is given, else one of
// the user's own.
func openProfile(name, dir string) (profile, error) {
	if !profileName.MatchString(name) {
		return profile{}, usageError{fmt.Errorf("profile %q: a name is of lower case letters, digits and '-'", name)}
	}
	if dir == "" {
		base, err := profilesDir()
		if err != nil {
			return profile{}, err
		}
		dir = filepath.Join(base, name)
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return profile{}, fmt.Errorf("data directory %s: %w", dir, err)
	}
	return profile{name, abs}, nil
}

// profilesDir is where profiles are kept: /var/lib/skiff for root, the XDG
// data directory for others.
func profilesDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/skiff", nil
	}
	if d := os.Getenv("XDG_DATA_HOME"); d != "" {
		return filepath.Join(d, "skiff"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("home directory: %w", err)
	}
	return filepath.Join(home, ".local", "share", "skiff"), nil
}

func (p profile) context() string { return "skiff-" + p.name }

func (p profile) runFile() string { return filepath.Join(p.dir, "run.json") }

// lock makes this process the only one on the data directory. The kernel
// releases it when the process ends, however it ends.
func (p profile) lock() (func(), error) {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory %s can't be made: %w; choose another with --data-dir", p.dir, err)
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory %s can't be written: %w; choose another with --data-dir", p.dir, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		if r, ok := p.running(); ok {
			return nil, fmt.Errorf("profile %q is running already (process %d): stop it with 'skiff stop -p %s', or start another with --profile", p.name, r.PID, p.name)
		}
		return nil, fmt.Errorf("data directory %s is in use by another process", p.dir)
	}
	return func() { _ = f.Close() }, nil
}

// idle waits until no process has the data any more, of one that was told to end.
func (p profile) idle(ctx context.Context) error {
	f, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("data directory %s: %w", p.dir, err)
	}
	defer func() { _ = f.Close() }()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// marker says whose a data directory is.
const marker = "skiff-cluster"

// check refuses a directory that holds something else than this cluster.
func (p profile) check() error {
	path := filepath.Join(p.dir, marker)
	raw, err := os.ReadFile(path)
	switch {
	case err == nil && string(raw) == p.name+"\n":
		return nil
	case err == nil:
		return fmt.Errorf("data directory %s is of another cluster, %q: choose another with --data-dir, or --profile %s", p.dir, trim(raw), trim(raw))
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("data directory %s can't be read: %w", p.dir, err)
	}
	entries, err := os.ReadDir(p.dir)
	if err != nil {
		return fmt.Errorf("data directory %s can't be read: %w", p.dir, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("data directory %s is not empty and not a cluster's: choose another with --data-dir", p.dir)
	}
	if err := os.WriteFile(path, []byte(p.name+"\n"), 0o600); err != nil {
		return fmt.Errorf("data directory %s can't be written: %w", p.dir, err)
	}
	return nil
}

func trim(raw []byte) string {
	s := string(raw)
	for len(s) > 0 && s[len(s)-1] == '\n' {
		s = s[:len(s)-1]
	}
	return s
}

func (p profile) write(r run) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	temp := p.runFile() + ".new"
	if err := os.WriteFile(temp, raw, 0o600); err != nil {
		return fmt.Errorf("write run file: %w", err)
	}
	return os.Rename(temp, p.runFile())
}

// running gives what runs on the profile's data, if anything does.
func (p profile) running() (run, bool) {
	raw, err := os.ReadFile(p.runFile())
	if err != nil {
		return run{}, false
	}
	var r run
	if json.Unmarshal(raw, &r) != nil || r.PID <= 0 || syscall.Kill(r.PID, 0) != nil || !opened(r.PID, filepath.Join(p.dir, "lock")) {
		return run{}, false
	}
	return r, true
}

// opened says whether a process has a file open. One that was killed leaves its
// number behind, which the next one gets sooner or later, after a reboot at once.
// Where there is no /proc, every process has.
func opened(pid int, file string) bool {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(dir)
	if err != nil {
		_, none := os.Stat("/proc/self/fd")
		return none != nil // else it has ended, or is another user's
	}
	want, err := os.Stat(file)
	if err != nil {
		return false
	}
	for _, f := range open {
		if got, err := os.Stat(filepath.Join(dir, f.Name())); err == nil && os.SameFile(got, want) {
			return true
		}
	}
	return false
}

// exists says whether there is a cluster of this name, running or not.
func (p profile) exists() bool {
	_, err := os.Stat(filepath.Join(p.dir, marker))
	return err == nil
}

// stop ends a running cluster and waits until its process is gone.
func (p profile) stop(ctx context.Context, r run) error {
	if err := syscall.Kill(r.PID, syscall.SIGTERM); err != nil {
		return fmt.Errorf("stop process %d: %w", r.PID, err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for syscall.Kill(r.PID, 0) == nil {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d has not ended yet: %w", r.PID, context.Cause(ctx))
		}
	}
	return nil
}

// profiles are the names of all clusters of this user.
func profiles() ([]profile, error) {
	base, err := profilesDir()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	var out []profile
	for _, e := range entries {
		if p := (profile{e.Name(), filepath.Join(base, e.Name())}); e.IsDir() && p.exists() {
			out = append(out, p)
		}
	}
	return out, nil
}
