package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	corev1 "k8s.io/api/core/v1"
)

// checkHostPath looks whether a path of the node is of the type that a pod
// wants, and makes it where the type says so.
func checkHostPath(path string, want *corev1.HostPathType) error {
	if want == nil || *want == corev1.HostPathUnset {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("hostPath type check failed: %w", err)
	}
	is := func(match func(fs.FileMode) bool) bool { return info != nil && match(info.Mode()) }
	what, ok := "", false
	switch *want {
	case corev1.HostPathDirectoryOrCreate:
		if info == nil {
			// As the kubelet: missing parents are made as well.
			if err := os.MkdirAll(path, 0o755); err != nil {
				return fmt.Errorf("make the directory of hostPath %s: %w", path, err)
			}
			return nil
		}
		what, ok = "a directory", is(fs.FileMode.IsDir)
	case corev1.HostPathDirectory:
		what, ok = "a directory", is(fs.FileMode.IsDir)
	case corev1.HostPathFileOrCreate:
		if info == nil {
			f, err := os.OpenFile(path, os.O_CREATE, 0o644)
			if err != nil {
				return fmt.Errorf("make the file of hostPath %s: %w", path, err)
			}
			return f.Close()
		}
		what, ok = "a file", is(fs.FileMode.IsRegular)
	case corev1.HostPathFile:
		what, ok = "a file", is(fs.FileMode.IsRegular)
	case corev1.HostPathSocket:
		what, ok = "a socket file", is(func(m fs.FileMode) bool { return m&fs.ModeSocket != 0 })
	case corev1.HostPathCharDev:
		what, ok = "a character device", is(func(m fs.FileMode) bool { return m&fs.ModeCharDevice != 0 })
	case corev1.HostPathBlockDev:
		what, ok = "a block device", is(func(m fs.FileMode) bool {
			return m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0
		})
	default:
		return fmt.Errorf("%s is an invalid volume type", *want)
	}
	if !ok {
		return fmt.Errorf("hostPath type check failed: %s is not %s", path, what)
	}
	return nil
}
