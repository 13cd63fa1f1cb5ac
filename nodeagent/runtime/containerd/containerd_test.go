//go:build linux

package containerd_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/skiffcluster/skiff/internal/roomtest"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/containerd"
	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
)

// binDir is where hack/containerd.sh leaves containerd, its shim and runc.
func binDir(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../../../bin")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		t.Skip("containers need root")
	}
	if _, err := os.Stat(filepath.Join(dir, "containerd")); err != nil {
		t.Skip("no containerd: run hack/containerd.sh")
	}
	return dir
}

type node struct {
	supervisor *containerd.Supervisor
	dir        string
}

// newNode starts a containerd of the test's own.
func newNode(t testing.TB) *node {
	t.Helper()
	bin := binDir(t)
	dir, err := os.MkdirTemp("", "ctd") //nolint:usetesting // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	s, err := containerd.NewSupervisor(containerd.SupervisorConfig{BinDir: bin, DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("supervisor: %v", err)
		}
		if err := s.Stop(context.Background()); err != nil {
			t.Errorf("stop containerd: %v", err)
		}
		rt, err := containerd.New(containerd.Config{Address: s.Address(), RunDir: dir, StateDir: dir, CgroupRoot: "skiff-test/" + filepath.Base(dir)})
		if err == nil {
			err = rt.RemoveCgroups()
		}
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	wait, stop := context.WithTimeout(ctx, 30*time.Second)
	defer stop()
	if err := s.WaitServing(wait); err != nil {
		t.Fatal(err)
	}
	return &node{supervisor: s, dir: dir}
}

// open connects a runtime, as an agent does when it starts; close ends it as
// when the agent stops.
func (n *node) open(t testing.TB) (_ *containerd.Runtime, closeRuntime func()) {
	t.Helper()
	rt, err := containerd.New(containerd.Config{
		Address: n.supervisor.Address(), RunDir: filepath.Join(n.dir, "run"), StateDir: filepath.Join(n.dir, "state"),
		CgroupRoot: "skiff-test/" + filepath.Base(n.dir), RuncBinary: n.supervisor.RuncBinary(), RuncRoot: n.supervisor.RuncRoot(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return rt, roomtest.Run(t, rt)
}

// openWithImage opens a runtime that has the tests' image.
func (n *node) openWithImage(t testing.TB) (_ *containerd.Runtime, closeRuntime func()) {
	t.Helper()
	rt, closeRuntime := n.open(t)
	if _, err := rt.ImportImages(t.Context(), runtimetest.Image(t, runtimetest.ImageName)); err != nil {
		t.Fatal(err)
	}
	return rt, closeRuntime
}

func TestConformance(t *testing.T) {
	n := newNode(t)
	runtimetest.Run(t, runtimetest.Options{Real: true}, func(t *testing.T) runtime.Runtime {
		rt, _ := n.open(t)
		return rt
	})
}

func TestAPodIsNotRunWithTheNodesUsersInsteadOfItsOwn(t *testing.T) {
	rt, _ := newNode(t).open(t)
	_, err := rt.EnsureSandbox(t.Context(), runtime.SandboxSpec{ID: "u-1", Namespace: "ns", Name: "own-users", UID: "u-1", UserNamespace: true})
	if err == nil || err.Error() != "can't set `spec.hostUsers: false`, runtime does not support user namespaces" {
		t.Errorf("got %v", err)
	}
	if sandbox, _, err := rt.Pod(t.Context(), "u-1"); err != nil || sandbox != nil {
		t.Errorf("there is a sandbox: %+v (%v)", sandbox, err)
	}
}

func TestWhatRanHasStarted(t *testing.T) {
	at := time.Now().UTC()
	for name, test := range map[string]struct {
		message string
		started time.Time
	}{
		"a process that ends at once has started":         {"", at},
		"a process that could not be started has not run": {"no such file", time.Time{}},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := containerd.EndBeforeStart(t.Context(), t.TempDir(), test.message, at)
			if err != nil || c.State != runtime.Exited || !c.StartedAt.Equal(test.started) || !c.FinishedAt.Equal(at) {
				t.Errorf("got %+v (%v)", c, err)
			}
		})
	}
}
