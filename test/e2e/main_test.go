package e2e_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/test/namespaces"
)

// The tests run three processes deep: one that makes the namespaces and waits,
// the first process inside, which reaps what its children leave, and the tests.
const (
	stage     = "SKIFF_E2E_STAGE"
	stageInit = "init"
	stageTest = "test"
	// stageMachine is the first process of another machine: see machine_test.go.
	stageMachine = "machine"
	workDir      = "SKIFF_E2E_DIR"
	// binDir is where the programs are inside: a path that every user may pass.
	binDir = "/run/skiff-e2e"
	nodeIP = namespaces.Address
	// nodeIP6 is another, where the kernel has IPv6.
	nodeIP6 = "2001:db8::2"
)

func TestMain(m *testing.M) {
	switch os.Getenv(stage) {
	case stageInit:
		os.Exit(namespaces.ExitCode("e2e", first()))
	case stageMachine:
		os.Exit(namespaces.ExitCode("e2e", beMachine()))
	case stageTest:
		code := m.Run()
		shared.end()
		os.Exit(code)
	default:
		if lacking = missing(); lacking != "" {
			os.Exit(m.Run()) // each test says why it is skipped
		}
		os.Exit(namespaces.ExitCode("e2e", namespaces.Outside("e2e", workDir, stage+"="+stageInit)))
	}
}

// lacking is what the machine lacks for these tests.
var lacking string

// missing says what the machine lacks; empty: nothing.
func missing() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	return namespaces.Missing("skiff", "skiff-kubectl", "containerd", "containerd-shim-runc-v2", "runc", "images/hello-v1.tar", "images/hello-v2.tar")
}

// first is the first process inside. Those that a killed skiff leaves behind
// become its children.
func first() error {
	if err := furnish(); err != nil {
		return fmt.Errorf("make the tests' namespaces: %w", err)
	}
	return namespaces.Reap(itself(stageTest))
}

// itself is this program again, as another of its stages.
func itself(as string, env ...string) *exec.Cmd {
	return namespaces.Self(append(env, stage+"="+as)...)
}

// furnish gives the namespaces what a machine has: /proc and /run of its own,
// a loopback and one link with an address and a default route.
func furnish() error {
	if err := mountOwn(); err != nil {
		return err
	}
	uplink, err := namespaces.Uplink()
	if err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: net.IPv4(192, 0, 2, 1)}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	if !hasIPv6() {
		return nil
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(nodeIP6), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}
	if err := netlink.AddrAdd(uplink, address); err != nil {
		return fmt.Errorf("address of uplink: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: net.ParseIP("2001:db8::1")}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

func hasIPv6() bool {
	_, err := os.Stat("/proc/net/if_inet6")
	return err == nil
}

// mountOwn gives a mount namespace /proc and /run of its own, and the programs.
func mountOwn() error {
	if err := namespaces.MountOwn(); err != nil {
		return err
	}
	if err := os.Mkdir(binDir, 0o755); err != nil { //nolint:gosec // programs are for every user
		return err
	}
	if err := syscall.Mount(namespaces.Bin(), binDir, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", namespaces.Bin(), err)
	}
	return nil
}
