// Package netns does things in another network namespace. It reads and writes
// nothing else; start at Do.
package netns

import (
	"fmt"
	"runtime"

	"github.com/vishvananda/netns"
)

// Do runs f on a thread of the network namespace at path, such as
// /run/netns/blue; empty is the caller's own. Sockets that f opens stay in that
// namespace, programs that it starts run there.
func Do(path string, f func() error) error {
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
