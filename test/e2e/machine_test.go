package e2e_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// lan is the network of the other machines: the tests' own routes to it.
//
//	tests (192.0.2.2) ── lan (bridge, 198.51.100.1) ──┬── eth0 of machine a
//	                                                  └── eth0 of machine b
const lan = "lan"

var lanRouter = net.IPv4(198, 51, 100, 1)

// makeLAN makes that network, for the time of a test.
func makeLAN(t *testing.T) {
	t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = lan
	attrs.HardwareAddr = net.HardwareAddr{0x0a, 0x5b, 198, 51, 100, 1}
	bridge := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(bridge); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = netlink.LinkDel(bridge) })
	err := errors.Join(
		netlink.AddrAdd(bridge, &netlink.Addr{IPNet: &net.IPNet{IP: lanRouter, Mask: net.CIDRMask(24, 32)}}),
		netlink.LinkSetUp(bridge),
		os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644),
	)
	if err != nil {
		t.Fatal(err)
	}
}

// machine is another computer on the lan: network, processes, mounts and name
// are its own, and a disk that survives it. The kernel and its cgroups are not.
type machine struct {
	name    string
	address net.IP
	disk    string
	init    *exec.Cmd
	off     io.Closer // init's standard input
}

func newMachine(t *testing.T, name string, number byte) *machine {
	t.Helper()
	m := &machine{name: name, address: net.IPv4(198, 51, 100, number), disk: filepath.Join(os.Getenv(workDir), name)}
	if err := os.MkdirAll(m.disk, 0o755); err != nil { //nolint:gosec // as /var/lib is
		t.Fatal(err)
	}
	t.Cleanup(func() { m.powerOff(t) })
	m.boot(t)
	return m
}

// boot starts the machine: nothing but its first process runs.
func (m *machine) boot(t *testing.T) {
	t.Helper()
	c := itself(stageMachine, "SKIFF_E2E_NAME="+m.name, "SKIFF_E2E_DISK="+m.disk)
	c.Stdin, c.Stdout = nil, nil
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
	}
	off, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	m.init, m.off = c, off
	if _, err := io.ReadFull(said, make([]byte, len(machineReady))); err != nil {
		t.Fatalf("machine %s does not start: %v", m.name, err)
	}
	if err := m.connect(); err != nil {
		t.Fatalf("machine %s: %v", m.name, err)
	}
}

// connect gives the machine its link to the lan.
func (m *machine) connect() error {
	bridge, err := netlink.LinkByName(lan)
	if err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MasterIndex = "lan-"+m.name, bridge.Attrs().Index
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsPid(m.init.Process.Pid)}); err != nil {
		return err
	}
	port, err := netlink.LinkByName(attrs.Name)
	if err == nil {
		err = netlink.LinkSetUp(port)
	}
	if err != nil {
		return err
	}
	return m.inside(func() error {
		for _, name := range []string{"lo", "eth0"} {
			l, err := netlink.LinkByName(name)
			if err == nil && name == "eth0" {
				err = netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: m.address, Mask: net.CIDRMask(24, 32)}})
			}
			if err == nil {
				err = netlink.LinkSetUp(l)
			}
			if err != nil {
				return fmt.Errorf("link %s: %w", name, err)
			}
		}
		return netlink.RouteAdd(&netlink.Route{Gw: lanRouter})
	})
}

// powerOff ends all that runs on the machine at once.
func (m *machine) powerOff(t *testing.T) {
	t.Helper()
	if m.init == nil {
		return
	}
	if err := m.init.Process.Kill(); err != nil {
		t.Errorf("machine %s: %v", m.name, err)
	}
	_ = m.init.Wait() // it was killed
	_ = m.off.Close()
	m.init = nil
	// Its network lives on for as long as the kernel tries to send.
	if port, err := netlink.LinkByName("lan-" + m.name); err == nil {
		_ = netlink.LinkDel(port) // it may just have gone
	}
}

// inside runs f in the machine's namespaces, in a thread that ends with it.
// Processes that f starts are the machine's.
func (m *machine) inside(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: nothing else may run in this thread
		result <- func() error {
			var fds []int
			for _, ns := range []string{"pid", "uts", "ipc", "net", "mnt"} { // /proc goes with the last
				fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/%s", m.init.Process.Pid, ns), unix.O_RDONLY|unix.O_CLOEXEC, 0)
				if err != nil {
					return err
				}
				defer func() { _ = unix.Close(fd) }()
				fds = append(fds, fd)
			}
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				return err
			}
			for _, fd := range fds {
				if err := unix.Setns(fd, 0); err != nil {
					return err
				}
			}
			return f()
		}()
	}()
	return <-result
}

// skiff starts a command line of skiff's on the machine, which begins with its name.
func (m *machine) skiff(t testing.TB, line string, flags ...string) *process {
	t.Helper()
	args := append(strings.Fields(line), flags...)
	if args[0] != "skiff" {
		t.Fatalf("%q is not a command of skiff's", line)
	}
	return spawnBy(t, skiff(args[1:]...), func(c *exec.Cmd) error { return m.inside(c.Start) })
}

// run runs such a command to its end and gives what it says.
func (m *machine) run(t testing.TB, args ...string) string {
	t.Helper()
	p := m.skiff(t, "skiff", args...)
	<-p.ended
	if p.err != nil {
		t.Fatalf("skiff %s on %s: %v\n%s", strings.Join(args, " "), m.name, p.err, p.out)
	}
	return p.out.String()
}

const machineReady = "on\n"

// beMachine is the first process of a machine: it buries the dead until the
// tests end.
func beMachine() error {
	if err := mountOwn(); err != nil {
		return err
	}
	if err := syscall.Mount(os.Getenv("SKIFF_E2E_DISK"), "/var/lib", "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount /var/lib: %w", err)
	}
	if err := unix.Sethostname([]byte(os.Getenv("SKIFF_E2E_NAME"))); err != nil {
		return fmt.Errorf("name of the machine: %w", err)
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	go func() {
		for range ended {
			for {
				pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
				if pid <= 0 && !errors.Is(err, syscall.EINTR) {
					break
				}
			}
		}
	}()
	if _, err := os.Stdout.WriteString(machineReady); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
