//go:build linux

package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/containerd"
	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 seconds", what)
		}
	}
}

// pod is a sandbox of a test, removed at the end through whichever runtime is
// open then.
type pod struct {
	id  string
	dir string // of logs
}

func newPod(t *testing.T, rt *containerd.Runtime) pod {
	t.Helper()
	uid := uuid.NewString()
	if _, err := rt.EnsureSandbox(t.Context(), runtime.SandboxSpec{ID: uid, UID: types.UID(uid), Hostname: "pod", QOS: corev1.PodQOSGuaranteed}); err != nil {
		t.Fatal(err)
	}
	return pod{uid, t.TempDir()}
}

func (p pod) start(t *testing.T, rt *containerd.Runtime, name string, args ...string) string {
	t.Helper()
	id, err := rt.Create(t.Context(), runtime.ContainerSpec{
		SandboxID: p.id, Name: name, Kind: runtime.Regular, Image: runtimetest.ImageName, Args: args, LogPath: filepath.Join(p.dir, name),
	})
	if err == nil {
		err = rt.Start(t.Context(), id)
	}
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (p pod) get(t *testing.T, rt *containerd.Runtime, id string) runtime.Container {
	t.Helper()
	_, containers, err := rt.Pod(t.Context(), p.id)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range containers {
		if c.ID == id {
			return c
		}
	}
	t.Fatalf("container %s is not there", id)
	return runtime.Container{}
}

func (p pod) remove(t *testing.T, rt *containerd.Runtime) {
	t.Helper()
	ctx := context.Background()
	sandbox, containers, err := rt.Pod(ctx, p.id)
	if err != nil || sandbox == nil {
		t.Errorf("list: %v, %v", sandbox, err)
	}
	for _, c := range containers {
		if c.State == runtime.Running {
			if err := rt.Kill(ctx, c.ID); err != nil {
				t.Errorf("kill: %v", err)
			}
		}
		if err := rt.Remove(ctx, c.ID); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if err := rt.RemoveSandbox(ctx, p.id); err != nil {
		t.Errorf("remove sandbox: %v", err)
	}
}

// numbers reads the log of "program count" and says how far it came; a number
// that is missing or there twice is an error.
func (p pod) numbers(t *testing.T, name string) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(line, " ", 4)
		if len(fields) != 4 {
			t.Fatalf("line %q", line)
		}
		if fields[2] == "P" {
			fields[3] = strings.TrimSuffix(fields[3], "\n")
		}
		text.WriteString(fields[3])
	}
	n := 0
	for line := range strings.Lines(text.String()) {
		got, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || got != n {
			t.Fatalf("line %d is %q", n, line)
		}
		n++
	}
	return n
}

func TestARuntimeThatStartsAgainFindsEverything(t *testing.T) {
	n := newNode(t)
	rt, stop := n.openWithImage(t)
	p := newPod(t, rt)
	counts := p.start(t, rt, "counts", "count", "1ms")
	ends := p.start(t, rt, "ends", "stubborn")
	before := p.get(t, rt, counts)
	stop()

	// While nobody looks one container ends and the other prints.
	if err := unix.Kill(p.get(t, rt, ends).PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	raw := filepath.Join(n.dir, "run/io", counts, "stdout")
	size := func() int64 {
		info, err := os.Stat(raw)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	was := size()
	eventually(t, "output goes on", func() bool { return size() > was+100 })
	missed := p.numbers(t, "counts")

	rt, _ = n.open(t)
	after := p.get(t, rt, counts)
	if after.State != runtime.Running || after.PID != before.PID || !after.StartedAt.Equal(before.StartedAt) || after.Attempt != before.Attempt {
		t.Errorf("before %+v, after %+v", before, after)
	}
	eventually(t, "the end is found", func() bool { return p.get(t, rt, ends).State == runtime.Exited })
	if c := p.get(t, rt, ends); c.ExitCode != 137 || c.FinishedAt.IsZero() {
		t.Errorf("got %+v", c)
	}
	eventually(t, "the log goes on without a gap", func() bool { return p.numbers(t, "counts") > missed+10 })
	p.remove(t, rt)
}

func TestAKilledContainerdComesBack(t *testing.T) {
	n := newNode(t)
	rt, _ := n.openWithImage(t)
	p := newPod(t, rt)
	counts := p.start(t, rt, "counts", "count", "1ms")
	ends := p.start(t, rt, "ends", "stubborn")
	before := p.get(t, rt, counts)
	data, err := os.ReadFile(filepath.Join(n.dir, "run/containerd.pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(data))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(p.get(t, rt, ends).PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is found", func() bool { return p.get(t, rt, ends).State == runtime.Exited })
	// A containerd that starts drops tasks that ended without it, with their
	// codes: where the kernel does not tell them it is 255, with a message.
	if c := p.get(t, rt, ends); c.ExitCode != 137 && (kernelTells(t) || c.ExitCode != 255 || c.Message == "") {
		t.Errorf("got %+v", c)
	}
	if after := p.get(t, rt, counts); after.State != runtime.Running || after.PID != before.PID {
		t.Errorf("before %+v, after %+v", before, after)
	}
	at := p.numbers(t, "counts")
	eventually(t, "the log goes on", func() bool { return p.numbers(t, "counts") > at+10 })
	eventually(t, "containers can be started", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, err := rt.Info(ctx)
		return err == nil
	})
	p.start(t, rt, "third", "sleep")
	p.remove(t, rt)
}

// TestContainersThatAreMadeWhileAllIsCompared: the comparison reads lists that are
// older than what is made and removed meanwhile. Nothing is lost by it.
func TestContainersThatAreMadeWhileAllIsCompared(t *testing.T) {
	n := newNode(t)
	rt, _ := n.openWithImage(t)
	ctx, cancel := context.WithCancel(t.Context())
	var compare sync.WaitGroup
	compare.Go(func() {
		for ctx.Err() == nil {
			if err := rt.Resync(ctx); err != nil && ctx.Err() == nil {
				t.Errorf("compare: %v", err)
				return
			}
		}
	})
	for i := range 5 {
		p := newPod(t, rt)
		stays := p.start(t, rt, "stays", "sleep")
		for j := range 3 {
			id := p.start(t, rt, fmt.Sprint("ends-", j), "exit", "3")
			eventually(t, "it ends", func() bool { return p.get(t, rt, id).State == runtime.Exited })
			if c := p.get(t, rt, id); c.ExitCode != 3 || c.Message != "" || c.StartedAt.IsZero() {
				t.Errorf("container %d of pod %d: %+v", j, i, c)
			}
		}
		if c := p.get(t, rt, stays); c.State != runtime.Running {
			t.Errorf("the one that stays: %+v", c)
		}
		p.remove(t, rt)
		if _, left, err := rt.Pod(t.Context(), p.id); err != nil || len(left) > 0 {
			t.Errorf("left: %+v, %v", left, err)
		}
	}
	cancel()
	compare.Wait()
}

// kernelTells says whether this machine's kernel tells how other processes'
// children have ended.
func kernelTells(t *testing.T) bool {
	t.Helper()
	code, ok := endOf(t, "exit 3")
	if ok && code != 3 {
		t.Errorf("got code %d, want 3", code)
	}
	return ok
}

// endOf runs a shell's command and asks the kernel how it has ended, after it
// was waited for.
func endOf(t *testing.T, command string) (int, bool) {
	t.Helper()
	shell := exec.Command("sh", "-c", "read line; "+command)
	in, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	end := containerd.EndOf(shell.Process.Pid)
	if _, known := end(); known {
		t.Error("a process that lives has ended")
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := shell.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return end()
}

func TestTheKernelTellsHowAProcessEnded(t *testing.T) {
	if !kernelTells(t) {
		t.Skip("needs Linux 6.15")
	}
	for command, want := range map[string]int{"exit 0": 0, "exit 255": 255, "kill -9 $$": 137, "kill -15 $$": 143} {
		if code, ok := endOf(t, command); !ok || code != want {
			t.Errorf("%s: got %d, %t, want %d", command, code, ok, want)
		}
	}
}

func TestASandboxOfBeforeARebootIsGone(t *testing.T) {
	n := newNode(t)
	rt, stop := n.open(t)
	p := newPod(t, rt)
	stop()
	// What a reboot does to it.
	for _, ns := range []string{"net", "uts", "ipc", "shm"} {
		if err := unix.Unmount(filepath.Join(n.dir, "run/sandboxes", p.id, ns), unix.MNT_DETACH); err != nil {
			t.Fatal(err)
		}
	}
	rt, _ = n.open(t)
	if sandbox, _, err := rt.Pod(t.Context(), p.id); err != nil || sandbox != nil {
		t.Errorf("got %+v, %v", sandbox, err)
	}
	again, err := rt.EnsureSandbox(t.Context(), runtime.SandboxSpec{ID: p.id, UID: types.UID(p.id), Hostname: "pod", QOS: corev1.PodQOSGuaranteed})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(again.NetNS); err != nil {
		t.Error(fmt.Errorf("network namespace: %w", err))
	}
	p.remove(t, rt)
}
