package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// What a volume's group may do at least, as the kubelet gives it.
const (
	groupRead    fs.FileMode = 0o440
	groupWrite   fs.FileMode = 0o660
	groupExecute fs.FileMode = 0o110
)

// setGroup gives everything below dir, and dir, to a group: it may read, and
// unless readOnly write, all files; what is made in its directories is the
// group's too.
func setGroup(dir string, group int64, readOnly bool) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, int(group)); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			return nil
		}
		return os.Chmod(path, groupMode(info.Mode(), readOnly))
	})
	if err != nil {
		return fmt.Errorf("give %s to group %d: %w", dir, group, err)
	}
	return nil
}

func groupMode(mode fs.FileMode, readOnly bool) fs.FileMode {
	if readOnly {
		mode |= groupRead
	} else {
		mode |= groupWrite
	}
	if mode.IsDir() {
		mode |= groupExecute | fs.ModeSetgid
	}
	return mode & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
}

// needsGroup tells whether the files below dir must be given to a group: with
// fsGroupChangePolicy OnRootMismatch only if dir itself is not yet as it
// should be.
func needsGroup(dir string, group int64, policy *corev1.PodFSGroupChangePolicy) (bool, error) {
	if policy == nil || *policy != corev1.FSGroupChangeOnRootMismatch {
		return true, nil
	}
	info, err := os.Stat(dir)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", dir, err)
	}
	owner, ok := groupOf(info)
	return !ok || owner != group || groupMode(info.Mode(), false) != info.Mode()&^fs.ModeDir, nil
}

// ensureDir makes a directory with a mode, whatever the process's umask, if it
// is not there.
func ensureDir(dir string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return fmt.Errorf("make the parent of %s: %w", dir, err)
	}
	switch err := os.Mkdir(dir, mode); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return fmt.Errorf("make %s: %w", dir, err)
	}
	if err := os.Chmod(dir, mode); err != nil {
		return fmt.Errorf("set the mode of %s: %w", dir, err)
	}
	return nil
}
