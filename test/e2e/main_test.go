package e2e_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
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
	// nodeIP is the machine's address, of a network that is for documents.
	nodeIP = "192.0.2.2"
	// nodeIP6 is another, where the kernel has IPv6.
	nodeIP6 = "2001:db8::2"
)

func TestMain(m *testing.M) {
	switch os.Getenv(stage) {
	case stageInit:
		os.Exit(report(first()))
	case stageMachine:
		os.Exit(report(beMachine()))
	case stageTest:
		code := m.Run()
		shared.end()
		os.Exit(code)
	default:
		if lacking = missing(); lacking != "" {
			os.Exit(m.Run()) // each test says why it is skipped
		}
		os.Exit(report(outside()))
	}
}

// lacking is what the machine lacks for these tests.
var lacking string

// missing says what the machine lacks; empty: nothing.
func missing() string {
	if os.Geteuid() != 0 {
		return "needs root"
	}
	for _, program := range []string{"skiff", "skiff-kubectl", "containerd", "containerd-shim-runc-v2", "runc", "images/hello-v1.tar", "images/hello-v2.tar"} {
		if _, err := os.Stat(filepath.Join(hostBin(), program)); err != nil {
			return fmt.Sprintf("needs %s in %s: run make build", program, hostBin())
		}
	}
	return ""
}

func hostBin() string {
	if dir := os.Getenv("SKIFF_BIN"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return "../../bin"
	}
	return dir
}

// report turns the end of a child process into an exit code.
func report(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return 0
}

// outside makes the namespaces and removes what is left when they are gone.
func outside() (err error) {
	dir, err := os.MkdirTemp("", "e2e") // short: sockets are below it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user's skiff is tried below it
		return err
	}
	c := self(stageInit, workDir+"="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	return c.Run()
}

// self is this program again.
func self(as string, env ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(append(os.Environ(), env...), stage+"="+as)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c
}

// first is the first process inside. Those that a killed skiff leaves behind
// become its children.
func first() error {
	if err := furnish(); err != nil {
		return fmt.Errorf("make the tests' namespaces: %w", err)
	}
	c := self(stageTest)
	if err := c.Start(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case pid == c.Process.Pid && status.Signaled():
			return fmt.Errorf("the tests were ended by %s", status.Signal())
		case pid == c.Process.Pid:
			os.Exit(status.ExitStatus())
		}
	}
}

// furnish gives the namespaces what a machine has: /proc and /run of its own,
// a loopback and one link with an address and a default route.
func furnish() error {
	if err := mountOwn(); err != nil {
		return err
	}
	up := func(name string) (netlink.Link, error) {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", name, err)
		}
		return l, netlink.LinkSetUp(l)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "uplink"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "nowhere"}); err != nil {
		return fmt.Errorf("link uplink: %w", err)
	}
	for _, name := range []string{"lo", "nowhere"} {
		if _, err := up(name); err != nil {
			return err
		}
	}
	uplink, err := up("uplink")
	if err != nil {
		return err
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(nodeIP), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(uplink, address); err != nil {
		return fmt.Errorf("address of uplink: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Gw: net.IPv4(192, 0, 2, 1)}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	if !hasIPv6() {
		return nil
	}
	address = &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(nodeIP6), Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD}
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
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", syscall.MS_NOSUID|syscall.MS_NODEV|syscall.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", syscall.MS_NOSUID|syscall.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Mkdir(binDir, 0o755); err != nil { //nolint:gosec // programs are for every user
		return err
	}
	if err := syscall.Mount(hostBin(), binDir, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount %s: %w", hostBin(), err)
	}
	return nil
}
