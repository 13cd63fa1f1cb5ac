//go:build linux

package containerd

import (
	goruntime "runtime"

	"golang.org/x/sys/unix"
)

// onOwnThread runs f in a thread that ends with it, so that f may enter or make
// namespaces. The process's first thread is spared: it can't end, and /proc/self
// shows its namespaces as the process's.
func onOwnThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		goruntime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// Held here, the first thread is not given to the next goroutine.
			result <- onOwnThread(f)
			goruntime.UnlockOSThread()
			return
		}
		result <- f() // never unlocked: the thread ends with the goroutine
	}()
	return <-result
}
