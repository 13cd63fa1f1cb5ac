//go:build linux

package namespaces

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Address is the machine's, of a network that is for documents (RFC 5737).
const Address = "192.0.2.2"

// Bin is where `make build` leaves the programs, seen from a package two folders
// below the repository's; SKIFF_BIN names another place.
func Bin() string {
	if dir := os.Getenv("SKIFF_BIN"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return "../../bin"
	}
	return dir
}

// Missing says which of some programs of [Bin] is not there; empty: none.
func Missing(programs ...string) string {
	for _, program := range programs {
		if _, err := os.Stat(filepath.Join(Bin(), program)); err != nil {
			return fmt.Sprintf("needs %s in %s: run make build", program, Bin())
		}
	}
	return ""
}

// ExitCode turns the end of a child process into an exit code; tests names who
// complains.
func ExitCode(tests string, err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", tests, err)
		return 1
	}
	return 0
}

// Self is this program again, with more in its environment.
func Self(env ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), env...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c
}

// Outside runs the first process in namespaces of its own. dirEnv is the
// variable by which it learns of a directory that is there until they end.
func Outside(tests, dirEnv string, env ...string) (err error) {
	dir, err := os.MkdirTemp("", tests) // short: sockets are below it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // another user's skiff is tried below it
		return err
	}
	c := Self(append(env, dirEnv+"="+dir)...)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	return c.Run()
}

// Reap runs the tests and waits for everybody who has no other parent. It exits
// as the tests do.
func Reap(tests *exec.Cmd) error {
	if err := tests.Start(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil:
			return err
		case pid == tests.Process.Pid && status.Signaled():
			return fmt.Errorf("the tests were ended by %s", status.Signal())
		case pid == tests.Process.Pid:
			os.Exit(status.ExitStatus())
		}
	}
}

// MountOwn gives a mount namespace a /proc and a /run of its own.
func MountOwn() error {
	for _, m := range []struct {
		target, kind, data string
		flags              uintptr
	}{
		{"/", "", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"/proc", "proc", "", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC},
		{"/run", "tmpfs", "mode=755", syscall.MS_NOSUID | syscall.MS_NODEV},
	} {
		if err := syscall.Mount(m.kind, m.target, m.kind, m.flags, m.data); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	return nil
}

// Uplink makes a loopback and one link with [Address], which leads nowhere.
func Uplink() (netlink.Link, error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "uplink"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "nowhere"}); err != nil {
		return nil, fmt.Errorf("link uplink: %w", err)
	}
	var uplink netlink.Link
	for _, name := range []string{"lo", "nowhere", "uplink"} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", name, err)
		}
		uplink = l
	}
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(Address), Mask: net.CIDRMask(24, 32)}}
	if err := netlink.AddrAdd(uplink, address); err != nil {
		return nil, fmt.Errorf("address of uplink: %w", err)
	}
	return uplink, nil
}

// HostLink is this machine's end of the link of a host, whose network namespace
// is in a file.
func HostLink(t testing.TB, file string) netlink.Link {
	t.Helper()
	ns, err := netns.GetFromPath(file)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer inside.Close()
	eth0, err := inside.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	end, err := netlink.LinkByIndex(eth0.Attrs().ParentIndex)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

// Process is one that runs in the tests' namespace.
type Process struct {
	PID  int
	Args []string
}

// Processes are all that run. Any may end meanwhile. One that has just ended
// has no arguments, and neither has one that waits to be reaped.
func Processes() ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		raw, err := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if err != nil || len(raw) == 0 {
			continue
		}
		out = append(out, Process{pid, strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00")})
	}
	return out, nil
}
