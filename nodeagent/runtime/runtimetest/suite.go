package runtimetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Options say what a runtime can do beyond keeping states.
type Options struct {
	// Real runtimes execute the image's program.
	Real bool
}

// Run checks a runtime. open gives one that is empty; it is closed by the
// test's cleanup.
func Run(t *testing.T, opts Options, open func(t *testing.T) runtime.Runtime) {
	rt := open(t)
	ctx := t.Context()
	if _, err := rt.ImportImages(ctx, Image(t, ImageName)); err != nil {
		t.Fatalf("import test image: %v", err)
	}
	s := &suite{rt: rt, opts: opts}
	t.Run("info names the runtime", s.info)
	t.Run("images are found by name, listed and removed", s.images)
	t.Run("a missing image is ErrNotFound", s.missingImage)
	t.Run("a sandbox is made once and removed twice", s.sandbox)
	t.Run("a container goes from created to running to exited to removed", s.lifecycle)
	t.Run("changes are seen by a watcher", s.watch)
	t.Run("what does not exist is ErrNotFound", s.missing)
	t.Run("a sandbox's containers are told apart by attempt", s.attempts)
	t.Run("limits of a running container and of its sandbox are changed", s.update)
	t.Run("a container tells which images it mounts", s.mountedImages)
	if !opts.Real {
		return
	}
	t.Run("output becomes a log in CRI's format", s.log)
	t.Run("exit codes are kept", s.exitCode)
	t.Run("containers that end at once are started all the same", s.shortLived)
	t.Run("a signal lets a process end by itself", s.signal)
	t.Run("a process that ignores SIGTERM is killed", s.kill)
	t.Run("a command that does not exist fails to start with the reason", s.startError)
	t.Run("environment, user, hostname and mounts are as asked", s.surroundings)
	t.Run("exec gives output, exit code and takes stdin", s.exec)
	t.Run("attach gets output and gives input", s.attach)
	t.Run("attach ends with its input where the container's stays open", s.attachInTurns)
	t.Run("a terminal works for the container and for exec", s.tty)
	t.Run("too much memory is reported as such", s.oom)
	t.Run("a port in the sandbox can be reached", s.portForward)
	t.Run("usage is counted", s.stats)
	t.Run("containers can share processes", s.sharedPID)
	t.Run("a container sees the processes of its target", s.target)
	t.Run("programs of a mounted image can't be executed", s.noPrograms)
}

type suite struct {
	rt   runtime.Runtime
	opts Options
}

// newSandbox makes a sandbox that is removed with its containers at the end.
func (s *suite) newSandbox(t *testing.T, change ...func(*runtime.SandboxSpec)) runtime.Sandbox {
	t.Helper()
	uid := types.UID(uuid.NewString())
	spec := runtime.SandboxSpec{ID: string(uid), UID: uid, Namespace: "default", Name: "pod", Hostname: "pod", QOS: corev1.PodQOSBurstable}
	for _, f := range change {
		f(&spec)
	}
	sandbox, err := s.rt.EnsureSandbox(t.Context(), spec)
	if err != nil {
		t.Fatalf("make sandbox: %v", err)
	}
	t.Cleanup(func() {
		ctx := context.Background()
		_, containers, err := s.rt.Pod(ctx, spec.ID)
		if err != nil {
			t.Errorf("list containers: %v", err)
		}
		for _, c := range containers {
			if c.State == runtime.Running {
				if err := s.rt.Kill(ctx, c.ID); err != nil {
					t.Errorf("kill %s: %v", c.Name, err)
				}
			}
			if err := s.rt.Remove(ctx, c.ID); err != nil {
				t.Errorf("remove %s: %v", c.Name, err)
			}
		}
		if err := s.rt.RemoveSandbox(ctx, spec.ID); err != nil {
			t.Errorf("remove sandbox: %v", err)
		}
	})
	return sandbox
}

func (s *suite) create(t *testing.T, sandbox runtime.Sandbox, change func(*runtime.ContainerSpec)) (string, *runtime.ContainerSpec) {
	t.Helper()
	spec := &runtime.ContainerSpec{
		SandboxID: sandbox.ID, Name: "main", Kind: runtime.Regular, Image: ImageName, Hash: "h",
		LogPath: filepath.Join(t.TempDir(), "0.log"),
	}
	if change != nil {
		change(spec)
	}
	id, err := s.rt.Create(t.Context(), *spec)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return id, spec
}

func (s *suite) start(t *testing.T, sandbox runtime.Sandbox, change func(*runtime.ContainerSpec)) (string, *runtime.ContainerSpec) {
	t.Helper()
	id, spec := s.create(t, sandbox, change)
	if err := s.rt.Start(t.Context(), id); err != nil {
		t.Fatalf("start: %v", err)
	}
	return id, spec
}

func (s *suite) container(t *testing.T, sandboxID, id string) (runtime.Container, bool) {
	t.Helper()
	_, containers, err := s.rt.Pod(t.Context(), sandboxID)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, c := range containers {
		if c.ID == id {
			return c, true
		}
	}
	return runtime.Container{}, false
}

func (s *suite) waitExit(t *testing.T, sandboxID, id string) runtime.Container {
	t.Helper()
	var found runtime.Container
	eventually(t, "container ends", func() bool {
		c, ok := s.container(t, sandboxID, id)
		found = c
		return ok && c.State == runtime.Exited
	})
	return found
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 30 seconds", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *suite) info(t *testing.T) {
	info, err := s.rt.Info(t.Context())
	if err != nil || info.Name == "" || info.Version == "" {
		t.Errorf("got %+v, %v", info, err)
	}
}

func (s *suite) images(t *testing.T) {
	ctx := t.Context()
	names, err := s.rt.ImportImages(ctx, Image(t, "skiff.test/other:2", func(c *v1.Config) { c.User = "1000" }))
	if err != nil || len(names) != 1 || names[0] != "skiff.test/other:2" {
		t.Fatalf("import: got %v, %v", names, err)
	}
	img, err := s.rt.ImageByRef(ctx, "skiff.test/other:2")
	if err != nil {
		t.Fatal(err)
	}
	if img.User != "1000" || !strings.HasPrefix(img.ID, "sha256:") {
		t.Errorf("got %+v", img)
	}
	byID, err := s.rt.ImageByRef(ctx, img.ID)
	if err != nil || byID.ID != img.ID {
		t.Errorf("by ID: got %+v, %v", byID, err)
	}
	list, err := s.rt.ListImages(ctx)
	if err != nil || len(list) != 2 {
		t.Errorf("list: got %+v, %v", list, err)
	}
	if err := s.rt.RemoveImage(ctx, img.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.rt.ImageByRef(ctx, "skiff.test/other:2"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("after removal: got %v, want ErrNotFound", err)
	}
}

func (s *suite) missingImage(t *testing.T) {
	if _, err := s.rt.ImageByRef(t.Context(), "skiff.test/none:1"); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
}

func (s *suite) sandbox(t *testing.T) {
	ctx := t.Context()
	sandbox := s.newSandbox(t)
	again, err := s.rt.EnsureSandbox(ctx, runtime.SandboxSpec{ID: sandbox.ID, UID: sandbox.UID})
	if err != nil || again.ID != sandbox.ID || !again.CreatedAt.Equal(sandbox.CreatedAt) {
		t.Errorf("made again: got %+v, %v; want %+v", again, err, sandbox)
	}
	for range 2 {
		if err := s.rt.RemoveSandbox(ctx, sandbox.ID); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if found, _, err := s.rt.Pod(ctx, sandbox.ID); err != nil || found != nil {
		t.Errorf("after removal: got %v, %v", found, err)
	}
}

func (s *suite) lifecycle(t *testing.T) {
	ctx := t.Context()
	sandbox := s.newSandbox(t)
	id, spec := s.create(t, sandbox, nil)
	if c, ok := s.container(t, sandbox.ID, id); !ok || c.State != runtime.Created {
		t.Fatalf("after create: got %+v", c)
	}
	if err := s.rt.Start(ctx, id); err != nil {
		t.Fatal(err)
	}
	c, _ := s.container(t, sandbox.ID, id)
	if c.State != runtime.Running || c.StartedAt.IsZero() || c.Name != "main" || c.Hash != "h" || c.PodUID != sandbox.UID ||
		c.Image != ImageName || !strings.Contains(c.ImageID, "@sha256:") || c.LogPath != spec.LogPath {
		t.Errorf("after start: got %+v", c)
	}
	if err := s.rt.Remove(ctx, id); err == nil {
		t.Error("a running container was removed")
	}
	if err := s.rt.Kill(ctx, id); err != nil {
		t.Fatal(err)
	}
	c, _ = s.container(t, sandbox.ID, id)
	if c.State != runtime.Exited || c.ExitCode != 137 || c.FinishedAt.IsZero() {
		t.Errorf("after kill: got %+v", c)
	}
	if err := s.rt.Remove(ctx, id); err != nil {
		t.Fatal(err)
	}
	if c, ok := s.container(t, sandbox.ID, id); ok {
		t.Errorf("after removal: got %+v", c)
	}
	// One that never ran can be removed as well.
	id, _ = s.create(t, sandbox, nil)
	if err := s.rt.Remove(ctx, id); err != nil {
		t.Errorf("remove created container: %v", err)
	}
}

func (s *suite) watch(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var mu sync.Mutex
	seen := map[string]int{}
	done := make(chan error, 1)
	started := make(chan struct{})
	go func() {
		close(started)
		done <- s.rt.Watch(ctx, func(id string) {
			mu.Lock()
			defer mu.Unlock()
			seen[id]++
		})
	}()
	<-started
	sandbox := s.newSandbox(t)
	id, _ := s.start(t, sandbox, nil)
	if err := s.rt.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end is reported", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen[id] > 0
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("watch ended with %v", err)
	}
}

func (s *suite) missing(t *testing.T) {
	ctx := t.Context()
	for name, err := range map[string]error{
		"start":  s.rt.Start(ctx, "none"),
		"kill":   s.rt.Kill(ctx, "none"),
		"remove": s.rt.Remove(ctx, "none"),
		"signal": s.rt.Signal(ctx, "none", "SIGTERM"),
	} {
		if !errors.Is(err, runtime.ErrNotFound) {
			t.Errorf("%s: got %v, want ErrNotFound", name, err)
		}
	}
	if _, err := s.rt.Create(ctx, runtime.ContainerSpec{SandboxID: "none", Image: ImageName}); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("create in no sandbox: got %v, want ErrNotFound", err)
	}
}

func (s *suite) attempts(t *testing.T) {
	sandbox := s.newSandbox(t)
	first, _ := s.start(t, sandbox, nil)
	if err := s.rt.Kill(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	second, _ := s.start(t, sandbox, func(c *runtime.ContainerSpec) { c.Attempt = 1 })
	a, _ := s.container(t, sandbox.ID, first)
	b, _ := s.container(t, sandbox.ID, second)
	if a.Attempt != 0 || b.Attempt != 1 || a.State != runtime.Exited || b.State != runtime.Running {
		t.Errorf("got %+v and %+v", a, b)
	}
}

// run executes a program to its end and gives its log without time stamps.
func (s *suite) run(t *testing.T, sandbox runtime.Sandbox, change func(*runtime.ContainerSpec)) (runtime.Container, string) {
	t.Helper()
	id, spec := s.start(t, sandbox, change)
	c := s.waitExit(t, sandbox.ID, id)
	return c, readLog(t, spec.LogPath)
}

// readLog gives a log's lines as "stream tag text".
func readLog(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return ""
	}
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(data)) {
		stamp, rest, _ := strings.Cut(line, " ")
		if _, err := time.Parse(time.RFC3339Nano, stamp); err != nil {
			t.Errorf("line %q has no time: %v", line, err)
		}
		out.WriteString(rest)
	}
	return out.String()
}

// shortLived runs programs that end while they are still being started.
func (s *suite) shortLived(t *testing.T) {
	sandbox := s.newSandbox(t)
	for worker := range 4 {
		t.Run(strconv.Itoa(worker), func(t *testing.T) {
			t.Parallel()
			for i := range 8 {
				c, _ := s.run(t, sandbox, func(c *runtime.ContainerSpec) {
					c.Name, c.Args = fmt.Sprintf("c%d-%d", worker, i), []string{"exit", "0"}
				})
				if c.ExitCode != 0 || c.Message != "" {
					t.Errorf("got exit code %d, %q", c.ExitCode, c.Message)
				}
			}
		})
	}
}

func program1(args ...string) func(*runtime.ContainerSpec) {
	return func(c *runtime.ContainerSpec) { c.Args = args }
}

func (s *suite) log(t *testing.T) {
	_, log := s.run(t, s.newSandbox(t), program1("both"))
	if !strings.Contains(log, "stdout F out\n") || !strings.Contains(log, "stderr F err\n") {
		t.Errorf("got %q", log)
	}
}

func (s *suite) exitCode(t *testing.T) {
	c, _ := s.run(t, s.newSandbox(t), program1("exit", "7"))
	if c.ExitCode != 7 || c.OOMKilled || c.FinishedAt.Before(c.StartedAt.Add(-time.Second)) {
		t.Errorf("got %+v", c)
	}
}

func (s *suite) signal(t *testing.T) {
	sandbox := s.newSandbox(t)
	id, spec := s.start(t, sandbox, nil)
	// The program may not yet listen for signals, and its default ends it too.
	eventually(t, "ends by SIGTERM", func() bool {
		if err := s.rt.Signal(t.Context(), id, ""); err != nil {
			t.Fatal(err)
		}
		c, _ := s.container(t, sandbox.ID, id)
		return c.State == runtime.Exited
	})
	if c := s.waitExit(t, sandbox.ID, id); c.ExitCode == 0 && !strings.Contains(readLog(t, spec.LogPath), "bye") {
		t.Errorf("got %+v", c)
	}
}

func (s *suite) kill(t *testing.T) {
	sandbox := s.newSandbox(t)
	id, spec := s.start(t, sandbox, program1("stubborn"))
	eventually(t, "it runs", func() bool { return strings.Contains(readLog(t, spec.LogPath), "ready") })
	if err := s.rt.Signal(t.Context(), id, "SIGTERM"); err != nil {
		t.Fatal(err)
	}
	if c, _ := s.container(t, sandbox.ID, id); c.State != runtime.Running {
		t.Errorf("got %+v", c)
	}
	if err := s.rt.Kill(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if c := s.waitExit(t, sandbox.ID, id); c.ExitCode != 137 {
		t.Errorf("got %+v", c)
	}
}

func (s *suite) startError(t *testing.T) {
	sandbox := s.newSandbox(t)
	id, _ := s.create(t, sandbox, func(c *runtime.ContainerSpec) { c.Command = []string{"/none"} })
	err := s.rt.Start(t.Context(), id)
	if err == nil || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("got %v", err)
	}
	c, _ := s.container(t, sandbox.ID, id)
	if c.State != runtime.Exited || c.ExitCode != 128 || c.Message == "" || !c.StartedAt.IsZero() {
		t.Errorf("got %+v", c)
	}
}

func (s *suite) surroundings(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("mounted"), 0o644); err != nil {
		t.Fatal(err)
	}
	sandbox := s.newSandbox(t, func(s *runtime.SandboxSpec) { s.Hostname = "some-host" })
	cases := []struct {
		name   string
		change func(*runtime.ContainerSpec)
		want   string
	}{
		{"variables of the pod and of the image", func(c *runtime.ContainerSpec) { c.Args = []string{"env"}; c.Env = []string{"A=b"} }, "stdout F A=b\n"},
		{"variables of the image", program1("env"), "stdout F FROM_IMAGE=yes\n"},
		{"the pod's hostname", program1("hostname"), "stdout F some-host\n"},
		{"root by default", program1("id"), "stdout F 0 0 [0]\n"},
		{"a user of the image with its groups", func(c *runtime.ContainerSpec) {
			c.Args = []string{"id"}
			c.Security = &corev1.SecurityContext{RunAsUser: new(int64(1000))}
			c.PodSecurity = &corev1.PodSecurityContext{FSGroup: new(int64(3000))}
		}, "stdout F 1000 1000 [1000 2000 3000]\n"},
		{"a mounted file", func(c *runtime.ContainerSpec) {
			c.Args = []string{"cat", "/data/file"}
			c.Mounts = []runtime.Mount{{Source: dir, Target: "/data", ReadOnly: true}}
		}, "stdout P mounted\n"},
		{"a read-only mount", func(c *runtime.ContainerSpec) {
			c.Args = []string{"write", "/data/file", "x"}
			c.Mounts = []runtime.Mount{{Source: dir, Target: "/data", ReadOnly: true}}
		}, "stderr F open /data/file: read-only file system\n"},
		{"a read-only root", func(c *runtime.ContainerSpec) {
			c.Args = []string{"write", "/file", "x"}
			c.Security = &corev1.SecurityContext{ReadOnlyRootFilesystem: new(true)}
		}, "stderr F open /file: read-only file system\n"},
		{"a process namespace of its own", program1("pid"), "stdout F 1\n"},
		{"the default seccomp profile", func(c *runtime.ContainerSpec) {
			c.Args = []string{"echo", "confined"}
			c.Security = &corev1.SecurityContext{SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}}
		}, "stdout F confined\n"},
		{"privileges", func(c *runtime.ContainerSpec) {
			c.Args = []string{"ls", "/dev"}
			c.Security = &corev1.SecurityContext{Privileged: new(true)}
		}, "stdout F kmsg\n"},
		{"an image that is mounted", func(c *runtime.ContainerSpec) {
			c.Args = []string{"cat", "/image/etc/group"}
			c.Mounts = []runtime.Mount{{Image: ImageName, Target: "/image", ReadOnly: true}}
		}, "stdout F extra:x:2000:web\n"},
		{"a directory of a mounted image", func(c *runtime.ContainerSpec) {
			c.Args = []string{"cat", "/image/group"}
			c.Mounts = []runtime.Mount{{Image: ImageName, SubPath: "etc", Target: "/image", ReadOnly: true}}
		}, "stdout F extra:x:2000:web\n"},
		{"a mounted image that can't be written", func(c *runtime.ContainerSpec) {
			c.Args = []string{"write", "/image/file", "x"}
			c.Mounts = []runtime.Mount{{Image: ImageName, Target: "/image", ReadOnly: true}}
		}, "stderr F open /image/file: read-only file system\n"},
	}
	for _, tt := range cases {
		t.Run(tt.name, func(t *testing.T) {
			if _, log := s.run(t, sandbox, tt.change); !strings.Contains(log, tt.want) {
				t.Errorf("got %q, want %q in it", log, tt.want)
			}
		})
	}
}

// mountedImages are told of as long as the container is there, for those who
// remove images that nobody uses.
func (s *suite) mountedImages(t *testing.T) {
	if _, err := s.rt.ImportImages(t.Context(), Image(t, "skiff.test/mounted:1", func(c *v1.Config) { c.User = "1001" })); err != nil {
		t.Fatal(err)
	}
	img, err := s.rt.ImageByRef(t.Context(), "skiff.test/mounted:1")
	if err != nil {
		t.Fatal(err)
	}
	sandbox := s.newSandbox(t)
	id, _ := s.create(t, sandbox, func(c *runtime.ContainerSpec) {
		c.Mounts = []runtime.Mount{
			{Image: "skiff.test/mounted:1", Target: "/one", ReadOnly: true}, {Image: img.ID, Target: "/other", ReadOnly: true},
		}
	})
	if c, ok := s.container(t, sandbox.ID, id); !ok || len(c.Mounted) != 1 || c.Mounted[0] != img.ID {
		t.Errorf("got %+v, want image %s", c, img.ID)
	}
	_, err = s.rt.Create(t.Context(), runtime.ContainerSpec{
		SandboxID: sandbox.ID, Name: "main", Kind: runtime.Regular, Image: ImageName, Attempt: 1,
		Mounts: []runtime.Mount{{Image: "skiff.test/nowhere:1", Target: "/one", ReadOnly: true}},
	})
	if !errors.Is(err, runtime.ErrImageMount) || !errors.Is(err, runtime.ErrNotFound) || !strings.HasPrefix(err.Error(), "ImageVolumeMountFailed: ") {
		t.Errorf("a missing image: got %v", err)
	}
	if err := s.rt.RemoveImage(t.Context(), img.ID); err != nil {
		t.Error(err)
	}
}

// noPrograms checks that a mounted image gives files and no programs.
func (s *suite) noPrograms(t *testing.T) {
	id, _ := s.start(t, s.newSandbox(t), func(c *runtime.ContainerSpec) {
		c.Mounts = []runtime.Mount{{Image: ImageName, Target: "/image", ReadOnly: true}}
	})
	for program, runs := range map[string]bool{"/program": true, "/image/program": false} {
		var out bytes.Buffer
		code, err := s.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{program, "echo", "hello"}, Streams: runtime.Streams{Stdout: &out}})
		if got := err == nil && code == 0 && out.String() == "hello\n"; got != runs {
			t.Errorf("%s: got %q, code %d, %v", program, out.String(), code, err)
		}
	}
}

func (s *suite) exec(t *testing.T) {
	ctx := t.Context()
	id, _ := s.start(t, s.newSandbox(t), nil)
	var stdout, stderr bytes.Buffer
	code, err := s.rt.Exec(ctx, id, runtime.Exec{Command: []string{"/program", "both"}, Streams: runtime.Streams{Stdout: &stdout, Stderr: &stderr}})
	if err != nil || code != 0 || stdout.String() != "out\n" || stderr.String() != "err\n" {
		t.Errorf("got %d, %v, %q, %q", code, err, stdout.String(), stderr.String())
	}
	if code, err = s.rt.Exec(ctx, id, runtime.Exec{Command: []string{"/program", "exit", "3"}}); err != nil || code != 3 {
		t.Errorf("exit code: got %d, %v", code, err)
	}
	stdout.Reset()
	code, err = s.rt.Exec(ctx, id, runtime.Exec{Command: []string{"/program", "cat"}, Streams: runtime.Streams{Stdin: strings.NewReader("to stdin"), Stdout: &stdout}})
	if err != nil || code != 0 || stdout.String() != "to stdin" {
		t.Errorf("stdin: got %d, %v, %q", code, err, stdout.String())
	}
	if _, err = s.rt.Exec(ctx, id, runtime.Exec{Command: []string{"/none"}}); err == nil {
		t.Error("a missing command was executed")
	}
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	if _, err = s.rt.Exec(short, id, runtime.Exec{Command: []string{"/program", "stubborn"}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a deadline: got %v", err)
	}
}

func (s *suite) attach(t *testing.T) {
	sandbox := s.newSandbox(t)
	id, spec := s.start(t, sandbox, func(c *runtime.ContainerSpec) { c.Args, c.Stdin, c.StdinOnce = []string{"cat"}, true, true })
	in, write := io.Pipe()
	out := &buffer{}
	done := make(chan error, 1)
	go func() { done <- s.rt.Attach(t.Context(), id, runtime.Streams{Stdin: in, Stdout: out}) }()
	if _, err := io.WriteString(write, "hello\n"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it comes back", func() bool { return out.String() == "hello\n" })
	if err := write.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("attach ended with %v", err)
	}
	if c := s.waitExit(t, sandbox.ID, id); c.ExitCode != 0 {
		t.Errorf("got %+v", c)
	}
	if log := readLog(t, spec.LogPath); log != "stdout F hello\n" {
		t.Errorf("log: got %q", log)
	}
}

func (s *suite) attachInTurns(t *testing.T) {
	sandbox := s.newSandbox(t)
	id, spec := s.start(t, sandbox, func(c *runtime.ContainerSpec) { c.Args, c.Stdin = []string{"cat"}, true })
	for _, line := range []string{"first\n", "second\n"} {
		if err := s.rt.Attach(t.Context(), id, runtime.Streams{Stdin: strings.NewReader(line), Stdout: io.Discard}); err != nil {
			t.Fatalf("attach ended with %v", err)
		}
		eventually(t, "the log has what it was sent", func() bool {
			log, err := os.ReadFile(spec.LogPath)
			return err == nil && strings.HasSuffix(string(log), " F "+line)
		})
	}
	if log := readLog(t, spec.LogPath); log != "stdout F first\nstdout F second\n" {
		t.Errorf("log: got %q", log)
	}
}

// buffer is a bytes.Buffer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (s *suite) tty(t *testing.T) {
	sandbox := s.newSandbox(t)
	id, _ := s.start(t, sandbox, func(c *runtime.ContainerSpec) { c.Args, c.Stdin, c.TTY = []string{"tty"}, true, true })
	for name, connect := range map[string]func(runtime.Streams) error{
		"attach": func(st runtime.Streams) error { return s.rt.Attach(t.Context(), id, st) },
		"exec": func(st runtime.Streams) error {
			_, err := s.rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"/program", "tty"}, Streams: st})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			in, write := io.Pipe()
			out := &buffer{}
			sizes := make(chan runtime.TerminalSize, 1)
			sizes <- runtime.TerminalSize{Width: 100, Height: 30}
			done := make(chan error, 1)
			go func() { done <- connect(runtime.Streams{Stdin: in, Stdout: out, TTY: true, Resize: sizes}) }()
			if _, err := io.WriteString(write, "hello\n"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the terminal answers", func() bool { return strings.Contains(out.String(), "got hello\r\n") })
			if _, err := io.WriteString(write, "\x04"); err != nil { // end of input
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Errorf("ended with %v", err)
			}
			write.Close()
		})
		if name == "attach" {
			id, _ = s.start(t, sandbox, func(c *runtime.ContainerSpec) {
				c.Name = "second"
				c.Args, c.Stdin, c.TTY = []string{"tty"}, true, true
			})
		}
	}
}

func (s *suite) oom(t *testing.T) {
	c, _ := s.run(t, s.newSandbox(t), func(c *runtime.ContainerSpec) {
		c.Args = []string{"eat"}
		c.Resources.MemoryLimit = 32 << 20
	})
	if !c.OOMKilled || c.ExitCode != 137 {
		t.Errorf("got %+v", c)
	}
}

func (s *suite) update(t *testing.T) {
	few := runtime.Resources{CPUShares: 102, CPUQuota: 10_000, CPURequest: 100, CPULimit: 100, MemoryLimit: 64 << 20, MemoryRequest: 32 << 20}
	many := runtime.Resources{CPUShares: 204, CPUQuota: 20_000, CPURequest: 200, CPULimit: 200, MemoryLimit: 96 << 20, MemoryRequest: 64 << 20}
	sandbox := s.newSandbox(t, func(spec *runtime.SandboxSpec) { spec.Resources = few })
	id, _ := s.start(t, sandbox, func(c *runtime.ContainerSpec) { c.Resources = few })
	has := func(want runtime.Resources) {
		t.Helper()
		pod, containers, err := s.rt.Pod(t.Context(), sandbox.ID)
		if err != nil || len(containers) != 1 {
			t.Fatal(containers, err)
		}
		if c := containers[0]; pod.Resources != want || c.Resources != want || c.State != runtime.Running {
			t.Errorf("got %+v and %+v, want %+v", pod.Resources, c, want)
		}
	}
	has(few)
	update := func(r runtime.Resources, whole, single func() error) {
		t.Helper()
		for _, f := range []func() error{whole, single} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		has(r)
		s.seesLimits(t, id, r)
	}
	pod := func(r runtime.Resources) func() error {
		return func() error { return s.rt.UpdateSandbox(t.Context(), sandbox.ID, r) }
	}
	container := func(r runtime.Resources) func() error {
		return func() error { return s.rt.Update(t.Context(), id, r) }
	}
	update(many, pod(many), container(many))
	update(few, container(few), pod(few))
	if err := s.rt.Update(t.Context(), "none", few); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("a container that is not there: %v", err)
	}
	if err := s.rt.UpdateSandbox(t.Context(), "none", few); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("a sandbox that is not there: %v", err)
	}
	if !s.opts.Real {
		return
	}
	tiny := few
	tiny.MemoryLimit = 4096
	if err := s.rt.Update(t.Context(), id, tiny); err == nil {
		t.Error("a limit below what is used was set")
	}
	has(few)
}

// seesLimits compares what a container's cgroup says inside, in the files of
// version 2 or of version 1.
func (s *suite) seesLimits(t *testing.T, id string, r runtime.Resources) {
	t.Helper()
	if !s.opts.Real {
		return
	}
	info, err := s.rt.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	files, want := []string{"cpu.max", "memory.max"}, fmt.Sprintf("%d 100000\n%d\n", r.CPUQuota, r.MemoryLimit)
	if info.CgroupVersion == 1 {
		files, want = []string{"cpu/cpu.cfs_quota_us", "memory/memory.limit_in_bytes"}, fmt.Sprintf("%d\n%d\n", r.CPUQuota, r.MemoryLimit)
	}
	var out bytes.Buffer
	command := []string{"/program", "cat"}
	for _, f := range files {
		command = append(command, "/sys/fs/cgroup/"+f)
	}
	if code, err := s.rt.Exec(t.Context(), id, runtime.Exec{Command: command, Streams: runtime.Streams{Stdout: &out}}); err != nil || code != 0 || out.String() != want {
		t.Errorf("the container sees %q, %d, %v, want %q", out.String(), code, err, want)
	}
}

func (s *suite) portForward(t *testing.T) {
	sandbox := s.newSandbox(t)
	_, spec := s.start(t, sandbox, program1("serve", "8080", "hello"))
	eventually(t, "it serves", func() bool { return strings.Contains(readLog(t, spec.LogPath), "serving") })
	if !s.loopback(t, sandbox) {
		t.Skip("the sandbox has no loopback until its network is attached")
	}
	conn, err := s.rt.PortForward(t.Context(), sandbox.ID, 8080)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(got), "hello") {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := s.rt.PortForward(t.Context(), sandbox.ID, 1); err == nil {
		t.Error("a closed port was connected")
	}
}

func (s *suite) stats(t *testing.T) {
	id, _ := s.start(t, s.newSandbox(t), nil)
	got, err := s.rt.Stats(t.Context(), id)
	if err != nil || got.Time.IsZero() || got.MemoryUsage == 0 {
		t.Errorf("got %+v, %v", got, err)
	}
}

func (s *suite) target(t *testing.T) {
	sandbox := s.newSandbox(t)
	first, _ := s.start(t, sandbox, func(c *runtime.ContainerSpec) { c.Name = "first" })
	aimed := func(c *runtime.ContainerSpec) {
		c.Name, c.Kind, c.Target, c.Args = "debugger", runtime.Ephemeral, first, []string{"pid"}
	}
	if _, log := s.run(t, sandbox, aimed); log == "stdout F 1\n" || log == "" {
		t.Errorf("got %q, want another process number than 1", log)
	}
	if _, log := s.run(t, sandbox, program1("pid")); log != "stdout F 1\n" {
		t.Errorf("a container without a target: got %q, want process number 1", log)
	}
	if err := s.rt.Kill(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	s.waitExit(t, sandbox.ID, first)
	late := runtime.ContainerSpec{SandboxID: sandbox.ID, Name: "late", Kind: runtime.Ephemeral, Image: ImageName, Target: first, LogPath: filepath.Join(t.TempDir(), "0.log")}
	if _, err := s.rt.Create(t.Context(), late); err == nil || !strings.Contains(err.Error(), "is not running") {
		t.Errorf("a target that has ended: got %v", err)
	}
	late.Target = "none"
	if _, err := s.rt.Create(t.Context(), late); !errors.Is(err, runtime.ErrNotFound) {
		t.Errorf("a target that is not there: got %v", err)
	}
}

func (s *suite) sharedPID(t *testing.T) {
	sandbox := s.newSandbox(t, func(s *runtime.SandboxSpec) { s.ShareProcessNamespace = true })
	s.start(t, sandbox, func(c *runtime.ContainerSpec) { c.Name = "first" })
	_, log := s.run(t, sandbox, program1("ls", "/proc"))
	if !strings.Contains(log, "stdout F 1\n") || strings.Count(log, "\n") < 2 {
		t.Errorf("got %q", log)
	}
	_, log = s.run(t, sandbox, program1("pid"))
	if log == "stdout F 1\n" || log == "" {
		t.Errorf("got %q, want another process number than 1", log)
	}
}
