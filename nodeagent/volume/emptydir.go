package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// prepareEmptyDir makes the directory of an emptyDir on its medium. What a
// restarted agent finds there stays.
func (v *Volumes) prepareEmptyDir(pod *corev1.Pod, volume *corev1.Volume) error {
	dir, err := v.dir(pod.UID, volume)
	if err != nil {
		return err
	}
	_, err = os.Lstat(dir)
	fresh := errors.Is(err, fs.ErrNotExist)
	if err := ensureDir(dir, 0o777); err != nil {
		return err
	}
	medium := volume.EmptyDir.Medium
	if !v.cfg.Unprivileged && medium != corev1.StorageMediumDefault {
		if medium == corev1.StorageMediumMemory {
			err = ensureTmpfs(dir, memorySize(pod, volume.EmptyDir.SizeLimit, v.input(pod).Allocatable))
		} else {
			var size int64
			if size, err = hugePageSize(pod, medium); err == nil {
				err = ensureHugetlbfs(dir, size)
			}
		}
		if err != nil {
			return err
		}
		// The root of a new file system has a mode of its own; a sticky bit stays.
		info, err := os.Stat(dir)
		if err != nil {
			return fmt.Errorf("look at %s: %w", dir, err)
		}
		if info.Mode().Perm() != 0o777 {
			if err := os.Chmod(dir, 0o777); err != nil {
				return fmt.Errorf("set the mode of %s: %w", dir, err)
			}
		}
	}
	group := fsGroup(pod)
	if group == nil || v.cfg.Unprivileged || !fresh && medium == corev1.StorageMediumDefault {
		return nil
	}
	return setGroup(dir, *group, false)
}

// memorySize is how large a memory-backed emptyDir may grow in bytes: the least
// of its sizeLimit, what the containers of the pod may use in all, and what the
// node has to give; 0 is the kernel's default of half the machine.
func memorySize(pod *corev1.Pod, limit *resource.Quantity, allocatable corev1.ResourceList) int64 {
	size := allocatable.Memory().Value()
	if sum, all := memoryLimit(pod); all && (size == 0 || sum < size) {
		size = sum
	}
	if limit != nil && limit.Value() > 0 && (size == 0 || limit.Value() < size) {
		size = limit.Value()
	}
	return size
}

// memoryLimit is what the containers of a pod may use at once; false unless all
// have a limit.
func memoryLimit(pod *corev1.Pod) (int64, bool) {
	var sum, most int64
	for i := range pod.Spec.Containers {
		limit := pod.Spec.Containers[i].Resources.Limits.Memory().Value()
		if limit == 0 {
			return 0, false
		}
		sum += limit
	}
	for i := range pod.Spec.InitContainers {
		limit := pod.Spec.InitContainers[i].Resources.Limits.Memory().Value()
		if limit == 0 {
			return 0, false
		}
		most = max(most, limit)
	}
	return max(sum, most), true
}

// hugePageSize is the size of pages of an emptyDir: the medium names it, or the
// pod asks for one size only.
func hugePageSize(pod *corev1.Pod, medium corev1.StorageMedium) (int64, error) {
	if text, ok := strings.CutPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)); ok {
		size, err := resource.ParseQuantity(text)
		if err != nil {
			return 0, fmt.Errorf("cannot parse the page size of medium %q: %w", medium, err)
		}
		return size.Value(), nil
	}
	if medium != corev1.StorageMediumHugePages {
		return 0, fmt.Errorf("unknown storage medium %q", medium)
	}
	sizes := map[string]bool{}
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for name := range list[i].Resources.Requests {
				if text, ok := strings.CutPrefix(string(name), corev1.ResourceHugePagesPrefix); ok {
					sizes[text] = true
				}
			}
		}
	}
	if len(sizes) > 1 {
		return 0, fmt.Errorf("medium %q cannot be used if the pod requests multiple huge page sizes", medium)
	}
	for text := range sizes {
		size, err := resource.ParseQuantity(text)
		if err != nil {
			return 0, fmt.Errorf("cannot parse the page size %q: %w", text, err)
		}
		return size.Value(), nil
	}
	return 0, errors.New("hugePages storage requested, but there is no resource request for huge pages")
}
