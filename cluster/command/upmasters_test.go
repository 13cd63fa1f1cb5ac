package command

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// upProcess is a `skiff up` whose pods are in memory.
type upProcess struct {
	profile
	cmd   *exec.Cmd
	said  *os.File
	ended chan struct{}
}

func startUp(t *testing.T, p profile, more ...string) *upProcess {
	t.Helper()
	said, err := os.CreateTemp(t.TempDir(), "said")
	if err != nil {
		t.Fatal(err)
	}
	u := &upProcess{profile: p, said: said, ended: make(chan struct{})}
	u.cmd = exec.Command("/proc/self/exe", append([]string{
		"up", "--runtime", "simulated", "--profile", p.name, "--data-dir", p.dir, "--kubeconfig", p.dir + ".conf", "--secure-port", "0",
	}, more...)...)
	u.cmd.Env = append(os.Environ(), asSkiff+"=1")
	u.cmd.Stdout, u.cmd.Stderr = said, said
	if err := u.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = u.cmd.Wait() // it is told to end, or killed
		close(u.ended)
	}()
	t.Cleanup(func() { u.end(t, syscall.SIGTERM) })
	return u
}

// end ends it and waits until all that it has started has ended too.
func (u *upProcess) end(t *testing.T, s syscall.Signal) {
	t.Helper()
	_ = u.cmd.Process.Signal(s) // it may have ended
	select {
	case <-u.ended:
	case <-time.After(time.Minute):
		t.Fatalf("skiff up does not end: %s", u.output())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, m := range u.masters() {
		if err := m.idle(ctx); err != nil {
			t.Fatalf("master %s goes on without skiff up: %v", m.dir, err)
		}
	}
}

// output is what it said, and what its masters did last.
func (u *upProcess) output() string {
	raw, err := os.ReadFile(u.said.Name())
	if err != nil {
		return err.Error()
	}
	logs, _ := filepath.Glob(filepath.Join(u.dir, "masters", "*.log")) // the pattern is good
	for _, log := range logs {
		if said, err := os.ReadFile(log); err == nil {
			raw = append(raw, fmt.Sprintf("%s ends with: %s\n", log, said[max(0, len(said)-6000):])...)
		}
	}
	return string(raw)
}

func (u *upProcess) masters() (all []profile) {
	dirs, _ := filepath.Glob(filepath.Join(u.dir, "masters", "?")) // the pattern is good
	for _, d := range dirs {
		all = append(all, profile{u.name, d})
	}
	return all
}

func eventually(t *testing.T, what string, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not so: %v", what, err)
		}
	}
}

func TestACommandThatFailsSaysWhyLast(t *testing.T) {
	for _, c := range []struct{ name, said, want string }{
		{"what it said last counts", "Error: old\nwarning\nError: new\nRun 'skiff server --help' for usage.\n", "new"},
		{"it was killed and said nothing", "Serving\n", "<nil>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := fmt.Sprint(lastError([]byte(c.said))); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestAMasterThatCannotStartIsToldAtOnce(t *testing.T) {
	p := profile{"broken", filepath.Join(t.TempDir(), "broken")}
	u := startUp(t, p, "--masters", "3", "--token-auth-file", "/nonexistent")
	eventually(t, "skiff up ends", func() error {
		select {
		case <-u.ended:
			return nil
		default:
			return fmt.Errorf("it says: %s", u.output())
		}
	})
	if said := u.output(); !strings.Contains(said, "master 0: ") || !strings.Contains(said, "/nonexistent") {
		t.Errorf("it says: %s", said)
	}
}
