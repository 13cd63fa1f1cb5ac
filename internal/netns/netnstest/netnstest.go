// Package netnstest gives tests network namespaces of their own. It writes
// nothing in the one that the test runs in; start at New.
package netnstest

import (
	"fmt"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"

	"github.com/skiffcluster/skiff/internal/netns"
)

// New returns the path of a network namespace that is empty but for lo, which
// is up. It lasts until the test ends. Without root the test is skipped.
func New(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make a network namespace")
	}
	type result struct {
		ns  vnetns.NsHandle
		err error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		ns, err := vnetns.New()
		done <- result{ns, err}
	}()
	r := <-done
	if r.err != nil {
		t.Fatalf("make a network namespace: %v", r.err)
	}
	t.Cleanup(func() { _ = r.ns.Close() })
	path := fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(r.ns)) // programs that the test starts find it too
	if err := netns.Do(path, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	}); err != nil {
		t.Fatal(err)
	}
	return path
}

// Inside runs f, which may end the test, on a thread of a namespace that New
// made. What f calls must stay on its goroutine.
func Inside(t testing.TB, path string, f func()) {
	t.Helper()
	ns, err := vnetns.GetFromPath(path)
	if err != nil {
		t.Fatalf("open a network namespace: %v", err)
	}
	defer func() { _ = ns.Close() }()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := vnetns.Set(ns); err != nil {
			t.Errorf("enter a network namespace: %v", err)
			return
		}
		f()
	}()
	<-done
}
