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
	path := fmt.Sprintf("/proc/self/fd/%d", int(r.ns))
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
