package runtimetest

import (
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// loopback does what the network does in real pods: it sets the sandbox's lo
// up.
func (s *suite) loopback(t *testing.T, sandbox runtime.Sandbox) bool {
	t.Helper()
	if sandbox.NetNS == "" {
		return false
	}
	ns, err := netns.GetFromPath(sandbox.NetNS)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err == nil {
		err = h.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	return true
}
