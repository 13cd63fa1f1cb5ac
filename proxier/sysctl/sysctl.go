// Package sysctl writes kernel settings of a network namespace. It reads
// nothing and keeps nothing; start at Set.
package sysctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/skiffcluster/skiff/internal/netns"
)

// Setting is one value to write.
type Setting struct {
	Name, Value string
	// Optional settings may be missing in the kernel.
	Optional bool
}

// Set writes settings in the network namespace at path (empty: the process's
// own), those first that come first. A value that is already there is not
// written, so that read-only /proc/sys does where all is as it should be.
func Set(path string, settings ...Setting) error {
	return netns.Do(path, func() error {
		for _, s := range settings {
			file := filepath.Join("/proc/sys", strings.ReplaceAll(s.Name, ".", "/"))
			old, err := os.ReadFile(file)
			if errors.Is(err, os.ErrNotExist) && s.Optional {
				continue
			}
			if err == nil && strings.TrimSpace(string(old)) == s.Value {
				continue
			}
			if err := os.WriteFile(file, []byte(s.Value), 0o644); err != nil {
				return fmt.Errorf("set %s to %s: %w", s.Name, s.Value, err)
			}
		}
		return nil
	})
}
