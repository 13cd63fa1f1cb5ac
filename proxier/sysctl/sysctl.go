// Package sysctl writes kernel settings of a network namespace. It reads
// nothing and keeps nothing; start at Set.
package sysctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/vishvananda/netns"
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
	return Inside(path, func() error {
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

// Inside runs f on a thread of the network namespace at path; empty is the
// caller's own.
func Inside(path string, f func() error) error {
	if path == "" {
		return f()
	}
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open network namespace: %w", err)
	}
	defer func() { _ = ns.Close() }()
	done := make(chan error, 1)
	go func() {
		// Never unlocked: the thread ends with the goroutine and no other gets it.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("enter network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
