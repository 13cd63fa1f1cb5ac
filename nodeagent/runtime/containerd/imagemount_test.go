//go:build linux

package containerd_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/runtime/containerd"
	"github.com/skiffcluster/skiff/nodeagent/runtime/runtimetest"
)

func (p pod) startMounting(t *testing.T, rt *containerd.Runtime, name string, mount runtime.Mount) (string, error) {
	t.Helper()
	mount.Target, mount.ReadOnly = "/image", true
	id, err := rt.Create(t.Context(), runtime.ContainerSpec{
		SandboxID: p.id, Name: name, Kind: runtime.Regular, Image: runtimetest.ImageName, LogPath: filepath.Join(p.dir, name), Mounts: []runtime.Mount{mount},
	})
	if err == nil {
		err = rt.Start(t.Context(), id)
	}
	return id, err
}

func reads(t *testing.T, rt *containerd.Runtime, id, file, want string) {
	t.Helper()
	var out strings.Builder
	code, err := rt.Exec(t.Context(), id, runtime.Exec{Command: []string{"/program", "cat", file}, Streams: runtime.Streams{Stdout: &out}})
	if err != nil || code != 0 || !strings.Contains(out.String(), want) {
		t.Errorf("%s: got %q, code %d, %v", file, out.String(), code, err)
	}
}

// mounts gives the mount points below the node's directory that hold images.
func (n *node) mounts(t *testing.T) []string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if at := strings.Fields(line)[1]; strings.HasPrefix(at, n.dir) && strings.Contains(at, "/images/") {
			found = append(found, at)
		}
	}
	return found
}

// views gives the snapshots that are views of images.
func (n *node) views(t *testing.T) []string {
	t.Helper()
	entries, err := filepath.Glob(filepath.Join(n.dir, "data/root/io.containerd.snapshotter.v1.overlayfs/snapshots/*"))
	if err != nil {
		t.Fatal(err)
	}
	return entries
}

func TestAMountedImageOutlivesAgentAndContainerd(t *testing.T) {
	n := newNode(t)
	rt, stop := n.openWithImage(t)
	p := newPod(t, rt)
	first, err := p.startMounting(t, rt, "first", runtime.Mount{Image: runtimetest.ImageName})
	if err != nil {
		t.Fatal(err)
	}
	reads(t, rt, first, "/image/etc/group", "extra:x:2000:web")
	if got := n.mounts(t); len(got) != 1 {
		t.Errorf("one view for the pod: got %v", got)
	}

	// The agent ends and another begins; containerd is killed and comes back.
	stop()
	rt, _ = n.open(t)
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
	eventually(t, "the container is known with its image", func() bool {
		c := p.get(t, rt, first)
		return c.State == runtime.Running && len(c.Mounted) == 1
	})
	var second string
	eventually(t, "another container mounts it", func() bool {
		second, err = p.startMounting(t, rt, "second", runtime.Mount{Image: runtimetest.ImageName, SubPath: "etc"})
		return err == nil
	})
	reads(t, rt, first, "/image/etc/group", "extra:x:2000:web")
	reads(t, rt, second, "/image/group", "extra:x:2000:web")
	if got := n.mounts(t); len(got) != 1 {
		t.Errorf("one view for the pod: got %v", got)
	}

	// Images go while they are mounted, and the files stay.
	if err := rt.RemoveImage(t.Context(), runtimetest.ImageName); err != nil {
		t.Fatal(err)
	}
	reads(t, rt, first, "/image/etc/group", "extra:x:2000:web")

	p.remove(t, rt)
	if got := n.mounts(t); len(got) != 0 {
		t.Errorf("still mounted: %v", got)
	}
	// Without containers, images and views nothing keeps the layers.
	eventually(t, "all snapshots go", func() bool { return len(n.views(t)) == 0 })
}

func TestADirectoryOfAnImageMustBeOne(t *testing.T) {
	n := newNode(t)
	rt, _ := n.openWithImage(t)
	p := newPod(t, rt)
	for _, tt := range []struct{ name, subPath, want string }{
		{"a directory that is not there", "missing", "no such file or directory"},
		{"a file", "etc/passwd", `only directory subpath is supported, subpath: "etc/passwd"`},
		{"a path that leads out", "../..", "path escapes from parent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := p.startMounting(t, rt, "main", runtime.Mount{Image: runtimetest.ImageName, SubPath: tt.subPath})
			if err == nil || !strings.HasPrefix(err.Error(), "ImageVolumeMountFailed: ") || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	p.remove(t, rt)
}
