package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ensureTmpfs mounts a file system in memory on dir, of size bytes or with 0 the
// kernel's default, unless one is there.
func ensureTmpfs(dir string, size int64) error {
	options := "mode=1777" // tmpfs' own, which a kubelet leaves
	if size > 0 {
		options += ",size=" + strconv.FormatInt(size, 10)
	}
	return ensureMount(dir, "tmpfs", options)
}

// ensureHugetlbfs mounts huge pages of a size in bytes on dir.
func ensureHugetlbfs(dir string, pageSize int64) error {
	return ensureMount(dir, "hugetlbfs", "mode=0777,pagesize="+strconv.FormatInt(pageSize, 10))
}

func ensureMount(dir, fstype, options string) error {
	mounted, err := isMountPoint(dir)
	if err != nil || mounted {
		return err
	}
	if err := unix.Mount(fstype, dir, fstype, unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount %s on %s: %w", fstype, dir, err)
	}
	return nil
}

// isMountPoint tells whether something is mounted on a directory or file.
func isMountPoint(path string) (bool, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BASIC_STATS, &st); err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	if st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT == 0 {
		return mountinfo.Mounted(path) // Linux before 5.8.
	}
	return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
}

// unmountBelow unmounts all that is mounted on or below dir, the innermost
// first.
func unmountBelow(dir string) error {
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("resolve %s: %w", dir, err)
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return fmt.Errorf("read the table of mounts: %w", err)
	}
	// The table lists a mount after the one it lies on.
	for _, m := range slices.Backward(mounts) {
		err := unix.Unmount(m.Mountpoint, unix.UMOUNT_NOFOLLOW)
		// A mount shared with this one may have taken it along.
		if err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unmount %s: %w", m.Mountpoint, err)
		}
	}
	return nil
}

// removeTree removes dir and all below. It follows no link and enters no mount
// point, also none of the same device: there it fails.
func removeTree(dir string) error {
	parent, err := os.Open(filepath.Dir(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer parent.Close()
	return removeAt(parent, filepath.Base(dir))
}

func removeAt(parent *os.File, name string) error {
	fail := func(what string, err error) error {
		return fmt.Errorf("%s %s: %w", what, filepath.Join(parent.Name(), name), err)
	}
	err := unix.Unlinkat(int(parent.Fd()), name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return fail("remove", err)
	}
	fd, err := unix.Openat2(int(parent.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	})
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EXDEV):
		return fail("remove", errors.New("something is mounted there"))
	case err != nil:
		return fail("open", err)
	}
	dir := os.NewFile(uintptr(fd), filepath.Join(parent.Name(), name))
	names, err := dir.Readdirnames(-1)
	for _, n := range names {
		err = errors.Join(err, removeAt(dir, n))
	}
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	if err := unix.Unlinkat(int(parent.Fd()), name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return fail("remove", err)
	}
	return nil
}

// openBeneath opens a file or directory of a volume, which may be behind links
// as long as they stay inside.
func openBeneath(root, name string) (*os.File, error) {
	dir, err := os.Open(root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := openat2(dir, name, unix.O_PATH)
	if err != nil {
		return nil, outside(root, name, err)
	}
	return os.NewFile(uintptr(fd), filepath.Join(root, name)), nil
}

// makeBeneath makes a directory of a volume and its parents, with the mode of
// the volume's own.
func makeBeneath(root, name string) error {
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return &fs.PathError{Op: "mkdir", Path: filepath.Join(root, name), Err: syscall.ENOTDIR}
	}
	mode := uint32(info.Mode().Perm())
	for of, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: unix.S_ISUID, fs.ModeSetgid: unix.S_ISGID, fs.ModeSticky: unix.S_ISVTX} {
		if info.Mode()&of != 0 {
			mode |= bit
		}
	}
	made := ""
	for part := range strings.SplitSeq(filepath.ToSlash(name), "/") {
		at, err := openat2(dir, orDot(made), unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			return outside(root, made, err)
		}
		parent := os.NewFile(uintptr(at), filepath.Join(root, made))
		err = makeAt(parent, part, mode)
		if err := errors.Join(err, parent.Close()); err != nil {
			return outside(root, filepath.Join(made, part), err)
		}
		made = filepath.Join(made, part)
	}
	return nil
}

func makeAt(parent *os.File, name string, mode uint32) error {
	err := unix.Mkdirat(int(parent.Fd()), name, mode)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return err
	}
	// The process's umask must not count.
	fd, err := unix.Openat(int(parent.Fd()), name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return errors.Join(unix.Fchmod(fd, mode), unix.Close(fd))
}

func openat2(dir *os.File, name string, flags uint64) (int, error) {
	for {
		fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
			Flags:   flags | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
		})
		// The kernel gives EAGAIN when a path changes while it looks.
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

func orDot(name string) string {
	if name == "" {
		return "."
	}
	return name
}

// outside says what the kernel means by EXDEV.
func outside(root, name string, err error) error {
	if errors.Is(err, unix.EXDEV) {
		return fmt.Errorf("subPath %q not within volume path %q", filepath.Join(root, name), root)
	}
	return &fs.PathError{Op: "open", Path: filepath.Join(root, name), Err: err}
}

// bind mounts an open file or directory on target, unless it is there already.
func bind(f *os.File, target string) error {
	var want unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &want); err != nil {
		return fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return fmt.Errorf("make the parent of %s: %w", target, err)
	}
	if _, err := os.Lstat(target); err == nil {
		mounted, err := isMountPoint(target)
		if err != nil {
			return err
		}
		var have unix.Stat_t
		if err := unix.Stat(target, &have); err != nil {
			return fmt.Errorf("look at %s: %w", target, err)
		}
		if mounted && have.Dev == want.Dev && have.Ino == want.Ino {
			return nil
		}
		if mounted {
			if err := unix.Unmount(target, unix.UMOUNT_NOFOLLOW|unix.MNT_DETACH); err != nil {
				return fmt.Errorf("unmount %s: %w", target, err)
			}
		}
		if err := os.Remove(target); err != nil {
			return err
		}
	}
	if err := makeTarget(target, want.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return err
	}
	source := "/proc/self/fd/" + strconv.Itoa(int(f.Fd()))
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", f.Name(), target, err)
	}
	return nil
}

func makeTarget(target string, dir bool) error {
	if dir {
		return os.Mkdir(target, 0o750)
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}

// groupOf gives the group of a file.
func groupOf(info fs.FileInfo) (int64, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return int64(st.Gid), true
}
