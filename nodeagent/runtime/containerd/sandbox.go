//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// shmSize is that of a pod's /dev/shm, as CRI implementations have it.
const shmSize = "64m"

// sandboxRecord is a sandbox on disk. Whether it still exists is another
// question: its namespaces are gone after a reboot.
type sandboxRecord struct {
	runtime.SandboxSpec
	CreatedAt    time.Time
	CgroupParent string
}

// defaultSysctls let unprivileged processes of a pod with a network of its own
// bind low ports and ping, as containerd's CRI does by default.
var defaultSysctls = map[string]string{
	"net.ipv4.ip_unprivileged_port_start": "0",
	"net.ipv4.ping_group_range":           "0 2147483647",
}

func (r *Runtime) sandboxFile(id string) string {
	return filepath.Join(r.cfg.StateDir, "sandboxes", id)
}

func (r *Runtime) sandboxDir(id string) string { return filepath.Join(r.cfg.RunDir, "sandboxes", id) }

// EnsureSandbox implements runtime.Runtime.
func (r *Runtime) EnsureSandbox(ctx context.Context, spec runtime.SandboxSpec) (runtime.Sandbox, error) {
	r.mu.Lock()
	old, ok := r.sandboxes[spec.ID]
	r.mu.Unlock()
	if ok {
		return *old, nil
	}
	if spec.UserNamespace {
		// With the node's users a pod would have less protection than it asked for.
		return runtime.Sandbox{}, errors.New("can't set `spec.hostUsers: false`, runtime does not support user namespaces")
	}
	rec := sandboxRecord{SandboxSpec: spec, CreatedAt: time.Now().UTC(), CgroupParent: r.cgroup.podPath(spec.QOS, spec.UID)}
	dir := r.sandboxDir(spec.ID)
	if err := os.MkdirAll(filepath.Join(dir, "shm"), 0o755); err != nil {
		return runtime.Sandbox{}, fmt.Errorf("make sandbox directory: %w", err)
	}
	err := errors.Join(r.makeNamespaces(dir, &rec), r.cgroup.makePod(rec.CgroupParent, spec.Resources))
	if err == nil {
		err = writeJSON(r.sandboxFile(spec.ID), &rec)
	}
	if err != nil {
		return runtime.Sandbox{}, errors.Join(fmt.Errorf("make sandbox: %w", err), r.RemoveSandbox(ctx, spec.ID))
	}
	s := r.sandboxOf(&rec)
	r.mu.Lock()
	r.sandboxes[spec.ID] = &s
	r.mu.Unlock()
	return s, nil
}

// UpdateSandbox implements runtime.Runtime.
func (r *Runtime) UpdateSandbox(_ context.Context, id string, res runtime.Resources) error {
	rec, err := r.record(id)
	if err != nil {
		return err
	}
	if err := r.cgroup.updatePod(rec.CgroupParent, res); err != nil {
		return fmt.Errorf("update sandbox %s: %w", id, err)
	}
	rec.Resources = res
	if err := writeJSON(r.sandboxFile(id), rec); err != nil {
		return fmt.Errorf("update sandbox %s: %w", id, err)
	}
	s := r.sandboxOf(rec)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sandboxes[id] != nil {
		r.sandboxes[id] = &s
	}
	return nil
}

func (r *Runtime) sandboxOf(rec *sandboxRecord) runtime.Sandbox {
	s := runtime.Sandbox{ID: rec.ID, Namespace: rec.Namespace, Name: rec.Name, UID: rec.UID, CreatedAt: rec.CreatedAt, Resources: rec.Resources}
	if !rec.HostNetwork {
		s.NetNS = filepath.Join(r.sandboxDir(rec.ID), "net")
	}
	return s
}

// makeNamespaces makes the namespaces in a thread of their own and keeps them
// by mounting them on files in dir.
func (r *Runtime) makeNamespaces(dir string, rec *sandboxRecord) error {
	flags := 0
	var pins []string
	if !rec.HostNetwork {
		// With the node's network comes the node's name.
		flags |= unix.CLONE_NEWNET | unix.CLONE_NEWUTS
		pins = append(pins, "net", "uts")
	}
	if !rec.HostIPC {
		flags |= unix.CLONE_NEWIPC
		pins = append(pins, "ipc")
		shm := filepath.Join(dir, "shm")
		if err := unix.Mount("shm", shm, "tmpfs", unix.MS_NOEXEC|unix.MS_NOSUID|unix.MS_NODEV, "mode=1777,size="+shmSize); err != nil {
			return fmt.Errorf("mount %s: %w", shm, err)
		}
	}
	if flags == 0 {
		return nil
	}
	return onOwnThread(func() error {
		if err := unix.Unshare(flags); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if !rec.HostNetwork {
			if err := unix.Sethostname([]byte(rec.Hostname)); err != nil {
				return fmt.Errorf("set hostname %q: %w", rec.Hostname, err)
			}
			for name, value := range defaultSysctls {
				if _, own := rec.Sysctls[name]; own {
					continue
				}
				// Missing where the kernel was built without it.
				if err := writeSysctl(name, value); err != nil && !errors.Is(err, os.ErrNotExist) {
					return err
				}
			}
		}
		for name, value := range rec.Sysctls {
			if err := writeSysctl(name, value); err != nil {
				return err
			}
		}
		for _, ns := range pins {
			if err := pin("/proc/thread-self/ns/"+ns, filepath.Join(dir, ns)); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeSysctl(name, value string) error {
	path := filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s to %q: %w", name, value, err)
	}
	return nil
}

// pin keeps a namespace by a mount on a file.
func pin(ns, file string) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return fmt.Errorf("keep namespace: %w", err)
	}
	if err := f.Close(); err != nil {
		return fmt.Errorf("keep namespace: %w", err)
	}
	if err := unix.Mount(ns, file, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s on %s: %w", ns, file, err)
	}
	return nil
}

// pinned says whether a file still keeps a namespace.
func pinned(file string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(file, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// loadSandboxes reads the sandboxes on disk that are not known yet and whose
// namespaces are there. Those of before a reboot are not sandboxes any more:
// EnsureSandbox makes them anew.
func (r *Runtime) loadSandboxes() error {
	entries, err := os.ReadDir(filepath.Join(r.cfg.StateDir, "sandboxes"))
	if err != nil {
		return fmt.Errorf("list sandboxes: %w", err)
	}
	for _, e := range entries {
		id := e.Name()
		r.mu.Lock()
		_, known := r.sandboxes[id]
		r.mu.Unlock()
		if known || strings.HasSuffix(id, ".tmp") {
			continue
		}
		var rec sandboxRecord
		if err := readJSON(r.sandboxFile(id), &rec); err != nil {
			// Cut off by a crash of the machine.
			if err := os.Remove(r.sandboxFile(id)); err != nil {
				return fmt.Errorf("remove broken sandbox record: %w", err)
			}
			continue
		}
		s := r.sandboxOf(&rec)
		if !r.alive(&rec) {
			continue
		}
		r.mu.Lock()
		r.sandboxes[id] = &s
		r.mu.Unlock()
	}
	return nil
}

// alive says whether a sandbox's namespaces, and with them its cgroup, are of
// this boot.
func (r *Runtime) alive(rec *sandboxRecord) bool {
	dir := r.sandboxDir(rec.ID)
	switch {
	case !rec.HostNetwork:
		return pinned(filepath.Join(dir, "net"))
	case !rec.HostIPC:
		return pinned(filepath.Join(dir, "ipc"))
	}
	return r.cgroup.exists(rec.CgroupParent)
}

// RemoveSandbox implements runtime.Runtime.
func (r *Runtime) RemoveSandbox(ctx context.Context, id string) error {
	var rec sandboxRecord
	if err := readJSON(r.sandboxFile(id), &rec); err != nil {
		// Without a record at most a directory is left.
		rec = sandboxRecord{SandboxSpec: runtime.SandboxSpec{ID: id}}
	}
	dir := r.sandboxDir(id)
	for _, mount := range []string{"net", "uts", "ipc", "shm"} {
		err := unix.Unmount(filepath.Join(dir, mount), unix.MNT_DETACH)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s of sandbox %s: %w", mount, id, err)
		}
	}
	if err := r.unmountImages(ctx, id); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove sandbox %s: %w", id, err)
	}
	if rec.CgroupParent != "" {
		if err := r.cgroup.removePod(rec.CgroupParent); err != nil {
			return fmt.Errorf("remove cgroup of sandbox %s: %w", id, err)
		}
	}
	if err := os.Remove(r.sandboxFile(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove sandbox record: %w", err)
	}
	r.mu.Lock()
	delete(r.sandboxes, id)
	r.mu.Unlock()
	return nil
}

// record reads what a sandbox was made from.
func (r *Runtime) record(id string) (*sandboxRecord, error) {
	rec := &sandboxRecord{}
	if err := readJSON(r.sandboxFile(id), rec); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = runtime.ErrNotFound
		}
		return nil, fmt.Errorf("sandbox %q: %w", id, err)
	}
	return rec, nil
}

// qosDir is the folder of a quality-of-service class below kubepods.
func qosDir(q corev1.PodQOSClass) string {
	switch q {
	case corev1.PodQOSBurstable:
		return "burstable"
	case corev1.PodQOSBestEffort:
		return "besteffort"
	}
	return ""
}
