//go:build linux

package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// labelRoot keeps a snapshot from containerd's garbage collection.
const labelRoot = "containerd.io/gc.root"

// imagesDir holds the images that are mounted for a sandbox, in directories
// named by their IDs. A directory is made before anything else and removed last,
// so that what is left after a crash is found.
func (r *Runtime) imagesDir(sandboxID string) string {
	return filepath.Join(r.sandboxDir(sandboxID), "images")
}

// viewKey names the snapshot that is a sandbox's view of an image.
func viewKey(sandboxID, dir string) string { return "image-volume/" + sandboxID + "/" + dir }

// mountImages mounts the images of a container's mounts, which then have them as
// their sources, and gives the images' IDs. Each is mounted once for a sandbox
// and stays until the sandbox goes.
func (r *Runtime) mountImages(ctx context.Context, spec *runtime.ContainerSpec) ([]string, error) {
	if !slices.ContainsFunc(spec.Mounts, func(m runtime.Mount) bool { return m.Image != "" }) {
		return nil, nil
	}
	spec.Mounts = slices.Clone(spec.Mounts)
	var ids []string
	for i := range spec.Mounts {
		m := &spec.Mounts[i]
		if m.Image == "" {
			continue
		}
		image, _, err := r.imageDetails(ctx, m.Image)
		if err != nil {
			return nil, err
		}
		dir, err := r.mountImage(ctx, spec.SandboxID, image)
		if err != nil {
			return nil, fmt.Errorf("mount image %q: %w", m.Image, err)
		}
		if m.Source, err = directoryIn(dir, m.SubPath); err != nil {
			return nil, fmt.Errorf("mount %q of image %q: %w", m.SubPath, m.Image, err)
		}
		ids = append(ids, image.id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// mountImage mounts a read-only view of an image's layers, and copies nothing.
func (r *Runtime) mountImage(ctx context.Context, sandboxID string, image *imageDetails) (string, error) {
	_, name, _ := strings.Cut(image.id, ":")
	target := filepath.Join(r.imagesDir(sandboxID), name)
	// Containers of one pod are made at the same time.
	r.mountsMu.Lock()
	defer r.mountsMu.Unlock()
	if err := os.MkdirAll(target, 0o711); err != nil {
		return "", err
	}
	if mounted, err := mountinfo.Mounted(target); err != nil || mounted {
		return target, err
	}
	store, key := r.client.SnapshotService(snapshotter), viewKey(sandboxID, name)
	mounts, err := store.View(ctx, key, image.chainID, snapshots.WithLabels(map[string]string{labelRoot: time.Now().UTC().Format(time.RFC3339)}))
	if errdefs.IsAlreadyExists(err) {
		mounts, err = store.Mounts(ctx, key) // cut off, or before a reboot
	}
	if err != nil {
		return "", err
	}
	return target, mount.All(mounts, target)
}

// directoryIn is a directory of an image; links must not lead out of it. As
// containerd's CRI, it takes no files.
func directoryIn(dir, subPath string) (string, error) {
	f, err := os.OpenInRoot(dir, filepath.Join(".", subPath))
	if err != nil {
		return "", err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "", fmt.Errorf("only directory subpath is supported, subpath: %q", subPath)
	}
	return filepath.Join(dir, subPath), nil
}

// unmountImages takes all images of a sandbox away.
func (r *Runtime) unmountImages(ctx context.Context, sandboxID string) error {
	ctx = namespaces.WithNamespace(ctx, containerdNamespace)
	r.mountsMu.Lock()
	defer r.mountsMu.Unlock()
	entries, err := os.ReadDir(r.imagesDir(sandboxID))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		target := filepath.Join(r.imagesDir(sandboxID), e.Name())
		if err := mount.UnmountAll(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return fmt.Errorf("unmount image: %w", err)
		}
		err := r.client.SnapshotService(snapshotter).Remove(ctx, viewKey(sandboxID, e.Name()))
		if err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("remove view of image: %w", err)
		}
		if err := os.Remove(target); err != nil {
			return fmt.Errorf("remove mount point of image: %w", err)
		}
	}
	return nil
}
