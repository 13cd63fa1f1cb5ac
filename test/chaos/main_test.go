package chaos_test

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

	"github.com/skiffcluster/skiff/cluster/command"
)

// The tests run in namespaces of their own, whose end is the end of all that
// they have started: the first process inside reaps what loses its parent, and
// starts the tests.
const (
	// asSkiff makes the test's own executable behave as skiff.
	asSkiff   = "CHAOS_TEST_AS_SKIFF"
	stage     = "CHAOS_TEST_STAGE"
	stageInit = "init"
	stageTest = "test"
	workDir   = "CHAOS_TEST_DIR"
)

func TestMain(m *testing.M) {
	switch {
	case os.Getenv(asSkiff) != "":
		os.Exit(command.Main(os.Args[1:]))
	case os.Getenv(stage) == stageInit:
		os.Exit(code(reap()))
	case os.Getenv(stage) == stageTest:
		os.Exit(m.Run())
	}
	if lacking = missing(); lacking != "" {
		os.Exit(m.Run()) // each test says why it is skipped
	}
	os.Exit(code(outside()))
}

// lacking is what the machine lacks for these tests.
var lacking string

func missing() string {
	if os.Geteuid() != 0 {
		return "needs root: workers are network namespaces with containers"
	}
	for _, program := range []string{"containerd", "containerd-shim-runc-v2", "runc", image} {
		if _, err := os.Stat(filepath.Join(binDir(), program)); err != nil {
			return fmt.Sprintf("needs %s in %s: run make build", program, binDir())
		}
	}
	return ""
}

// image is that of the sample service.
const image = "images/hello-v1.tar"

func binDir() string {
	if dir := os.Getenv("SKIFF_BIN"); dir != "" {
		return dir
	}
	dir, err := filepath.Abs("../../bin")
	if err != nil {
		return "../../bin"
	}
	return dir
}

// code turns the end of a child process into an exit code.
func code(err error) int {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		return 1
	}
	return 0
}

// outside makes the namespaces, and removes the files when they have ended.
func outside() (err error) {
	dir, err := os.MkdirTemp("", "chaos") // short: sockets are below it
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	c := self(stageInit, workDir+"="+dir)
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	return c.Run()
}

func self(as string, env ...string) *exec.Cmd {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(append(os.Environ(), env...), stage+"="+as)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c
}

func reap() error {
	if err := furnish(); err != nil {
		return fmt.Errorf("make the tests' namespaces: %w", err)
	}
	c := self(stageTest)
	if err := c.Start(); err != nil {
		return err
	}
	for {
		var status syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &status, 0, nil); {
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

// furnish gives the namespaces a /proc and a /run of their own, and the network
// of a machine that has one address, of a network that is for documents.
func furnish() error {
	for _, m := range []struct {
		target, kind string
		flags        uintptr
	}{
		{"/", "", syscall.MS_REC | syscall.MS_PRIVATE},
		{"/proc", "proc", syscall.MS_NOSUID | syscall.MS_NODEV | syscall.MS_NOEXEC},
		{"/run", "tmpfs", syscall.MS_NOSUID | syscall.MS_NODEV},
	} {
		if err := syscall.Mount(m.kind, m.target, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "uplink"
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "nowhere"}); err != nil {
		return fmt.Errorf("link uplink: %w", err)
	}
	for name, address := range map[string]*net.IPNet{
		"lo": nil, "nowhere": nil, "uplink": {IP: net.IPv4(192, 0, 2, 2), Mask: net.CIDRMask(24, 32)},
	} {
		l, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(l)
		}
		if err == nil && address != nil {
			err = netlink.AddrAdd(l, &netlink.Addr{IPNet: address})
		}
		if err != nil {
			return fmt.Errorf("link %s: %w", name, err)
		}
	}
	return nil
}
