package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/environment"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Mounts gives the mounts of a container of a prepared pod; env is the
// container's environment, for subPathExpr. The error's text is the message of
// a container that waits with reason CreateContainerConfigError.
func (v *Volumes) Mounts(ctx context.Context, pod *corev1.Pod, c *corev1.Container, env []string) ([]runtime.Mount, error) {
	var mounts []runtime.Mount
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		volume := volumeByName(pod, m.Name)
		if volume == nil {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q", m.Name, c.Name)
		}
		if volume.Image != nil {
			subPath, err := expandSubPath(m, env)
			if err != nil {
				return nil, err
			}
			mounts = append(mounts, runtime.Mount{Image: volume.Image.Reference, SubPath: subPath, Target: absolute(m.MountPath), ReadOnly: true})
			continue
		}
		path, err := v.Path(ctx, pod, m.Name)
		if err != nil {
			return nil, fmt.Errorf("cannot find volume %q to mount into container %q: %w", m.Name, c.Name, err)
		}
		if volume.HostPath != nil && (volume.HostPath.Type == nil || *volume.HostPath.Type == corev1.HostPathUnset) {
			// Nothing was checked, so nothing may be there: runtimes make it.
			if err := makeMissing(path); err != nil {
				return nil, err
			}
		}
		subPath, err := expandSubPath(m, env)
		if err != nil {
			return nil, err
		}
		if subPath != "" {
			if path, err = v.bindSubPath(pod, volume, c, i, path, subPath); err != nil {
				return nil, err
			}
		}
		propagation := corev1.MountPropagationNone
		if m.MountPropagation != nil {
			propagation = *m.MountPropagation
		}
		mounts = append(mounts, runtime.Mount{
			Source:      path,
			Target:      absolute(m.MountPath),
			ReadOnly:    m.ReadOnly || isContent(volume) || volume.PersistentVolumeClaim != nil && volume.PersistentVolumeClaim.ReadOnly,
			Propagation: propagation,
		})
	}
	return mounts, nil
}

// absolute is a container's path from its root.
func absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return "/" + path
}

func volumeByName(pod *corev1.Pod, name string) *corev1.Volume {
	i := slices.IndexFunc(pod.Spec.Volumes, func(volume corev1.Volume) bool { return volume.Name == name })
	if i < 0 {
		return nil
	}
	return &pod.Spec.Volumes[i]
}

func makeMissing(path string) error {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil // It is there; whether it can be mounted, the runtime says.
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("make the directory of hostPath %s: %w", path, err)
	}
	return nil
}

// expandSubPath gives the part of the volume that a container mounts, empty for
// all of it.
func expandSubPath(m *corev1.VolumeMount, env []string) (string, error) {
	subPath := m.SubPath
	if m.SubPathExpr != "" {
		var missing []string
		values := environment.Map(env)
		subPath = environment.Expand(m.SubPathExpr, func(name string) (string, bool) {
			value, ok := values[name]
			if !ok || value == "" {
				missing = append(missing, fmt.Sprintf("missing value for %q", name))
			}
			return value, ok
		})
		if len(missing) > 0 {
			return "", errors.New(strings.Join(missing, ", "))
		}
	}
	if subPath == "" {
		return "", nil
	}
	if filepath.IsAbs(subPath) {
		return "", fmt.Errorf("error SubPath `%s` must not be an absolute path", subPath)
	}
	if slices.Contains(strings.Split(filepath.ToSlash(subPath), "/"), "..") {
		return "", fmt.Errorf("unable to provision SubPath `%s`: must not contain '..'", subPath)
	}
	return filepath.Clean(subPath), nil
}

// bindSubPath pins a part of a volume by a bind mount of the agent's own, so
// that a pod that exchanges a directory for a link afterwards, or while this
// looks, gets nothing but its own files.
func (v *Volumes) bindSubPath(pod *corev1.Pod, volume *corev1.Volume, c *corev1.Container, index int, path, subPath string) (string, error) {
	f, err := openBeneath(path, subPath)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeBeneath(path, subPath); err != nil {
			return "", fmt.Errorf("failed to create subPath directory for volumeMount %q of container %q: %w", volume.Name, c.Name, err)
		}
		f, err = openBeneath(path, subPath)
	}
	if err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", volume.Name, c.Name, err)
	}
	defer f.Close()
	if v.cfg.Unprivileged {
		return filepath.Join(path, subPath), nil
	}
	target := filepath.Join(v.PodDir(pod.UID), "volume-subpaths", volume.Name, c.Name, strconv.Itoa(index))
	if err := bind(f, target); err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", volume.Name, c.Name, err)
	}
	return target, nil
}
