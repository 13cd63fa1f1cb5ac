//go:build !linux

package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// errNoMounts is what an operating system without Linux's mounts gives.
var errNoMounts = errors.New("volumes in memory and subPaths need Linux")

func ensureTmpfs(string, int64) error     { return errNoMounts }
func ensureHugetlbfs(string, int64) error { return errNoMounts }
func unmountBelow(string) error           { return nil }
func bind(*os.File, string) error         { return errNoMounts }

func removeTree(dir string) error { return os.RemoveAll(dir) }

func openBeneath(root, name string) (*os.File, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return r.Open(name)
}

func makeBeneath(root, name string) error {
	r, err := os.OpenRoot(root)
	if err != nil {
		return err
	}
	defer r.Close()
	return r.MkdirAll(filepath.Clean(name), 0o755)
}

func groupOf(fs.FileInfo) (int64, bool) { return 0, false }
