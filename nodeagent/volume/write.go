package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The names that a volume's files are reached by:
//
//	token     -> ..data/token
//	..data    -> ..2026_01_02_15_04_05.123456
//	..2026_01_02_15_04_05.123456/token
//
// A new state is written beside the old one and takes its place by the rename
// of ..data, so that a reader sees all of either.
const (
	currentName = "..data"
	nextName    = "..data_tmp"
)

// write makes the content of dir be exactly these files, if it is not already.
func (v *Volumes) write(dir string, content files, group *int64) error {
	old, err := os.Readlink(filepath.Join(dir, currentName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read the present state of %s: %w", dir, err)
	}
	if old != "" && same(filepath.Join(dir, old), content) {
		return errors.Join(removeStale(dir, old), linkNames(dir, content))
	}
	stamp := v.cfg.Clock.Now().UTC().Format("2006_01_02_15_04_05.")
	next, err := os.MkdirTemp(dir, ".."+stamp)
	if err != nil {
		return fmt.Errorf("make a directory for the new state: %w", err)
	}
	if err := v.fill(next, content, group); err != nil {
		return errors.Join(err, os.RemoveAll(next))
	}
	link := filepath.Join(dir, nextName)
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a link left behind: %w", err)
	}
	if err := os.Symlink(filepath.Base(next), link); err != nil {
		return fmt.Errorf("link the new state: %w", err)
	}
	if err := os.Rename(link, filepath.Join(dir, currentName)); err != nil {
		return fmt.Errorf("switch to the new state: %w", err)
	}
	return errors.Join(linkNames(dir, content), removeStale(dir, filepath.Base(next)))
}

// fill writes the files into a directory that nobody sees yet.
func (v *Volumes) fill(dir string, content files, group *int64) error {
	if err := os.Chmod(dir, 0o755); err != nil {
		return fmt.Errorf("set the mode of %s: %w", dir, err)
	}
	for name, f := range content {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("make a directory for %s: %w", name, err)
		}
		mode := fs.FileMode(f.mode) & fs.ModePerm
		if err := os.WriteFile(path, f.data, mode); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		// The process's umask must not count.
		if err := os.Chmod(path, mode); err != nil {
			return fmt.Errorf("set the mode of %s: %w", name, err)
		}
		if f.user != nil && !v.cfg.Unprivileged {
			if err := os.Lchown(path, int(*f.user), -1); err != nil {
				return fmt.Errorf("set the owner of %s: %w", name, err)
			}
		}
	}
	if group == nil || v.cfg.Unprivileged {
		return nil
	}
	return setGroup(dir, *group, true)
}

// same tells whether dir holds exactly this content.
func same(dir string, content files) bool {
	seen := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, ok := content[filepath.ToSlash(name)]
		if !ok {
			return fs.ErrNotExist
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !bytes.Equal(data, f.data) {
			return fs.ErrInvalid
		}
		seen++
		return nil
	})
	return err == nil && seen == len(content)
}

// linkNames makes the names that users see lead through ..data, and removes
// those that are no more.
func linkNames(dir string, content files) error {
	var wanted []string
	for name := range content {
		top, _, _ := strings.Cut(name, "/")
		wanted = append(wanted, top)
	}
	slices.Sort(wanted)
	for _, name := range slices.Compact(wanted) {
		path := filepath.Join(dir, name)
		target := filepath.Join(currentName, name)
		if have, err := os.Readlink(path); err == nil && have == target {
			continue
		}
		if err := os.Symlink(target, path); err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..") || slices.Contains(wanted, e.Name()) {
			continue
		}
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("remove the link %s: %w", e.Name(), err)
		}
	}
	return nil
}

// removeStale removes states other than the current one, also those of an agent
// that died while it wrote.
func removeStale(dir, current string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() && strings.HasPrefix(e.Name(), "..") && e.Name() != current {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("remove an old state: %w", err)
			}
		}
	}
	return nil
}
