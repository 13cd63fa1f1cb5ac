package runtimetest

import (
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	rt "github.com/skiffcluster/skiff/nodeagent/runtime"
)

// loopback does what the network does in real pods: it sets the sandbox's lo
// up.
func (s *suite) loopback(t *testing.T, sandbox rt.Sandbox) bool {
	t.Helper()
	if sandbox.NetNS == "" {
		return false
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends
		done <- func() error {
			ns, err := netns.GetFromPath(sandbox.NetNS)
			if err != nil {
				return err
			}
			defer ns.Close()
			h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
			if err != nil {
				return err
			}
			defer h.Close()
			lo, err := h.LinkByName("lo")
			if err != nil {
				return err
			}
			return h.LinkSetUp(lo)
		}()
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return true
}
