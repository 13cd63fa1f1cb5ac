package chaos_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/test/namespaces"
)

// host is the file of a host's network namespace.
type host string

func (c *skiffCluster) host(name string) host { return host(filepath.Join(c.dir, "hosts", name)) }

// cut takes a host's link down, and gives what puts it up again.
func (h host) cut(t testing.TB) (heal func()) {
	t.Helper()
	end := namespaces.HostLink(t, string(h))
	if err := netlink.LinkSetDown(end); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := netlink.LinkSetUp(end); err != nil {
			t.Error(err)
		}
	}
}

// dial connects from the host.
func (h host) dial(ctx context.Context, address string) (conn net.Conn, err error) {
	err = netns.Do(string(h), func() error {
		conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, "tcp4", address)
		return err
	})
	return conn, err
}

type process struct{ namespaces.Process }

// processes are all for which is holds. Any may end meanwhile.
func processes(is func(process) bool) []process {
	all, err := namespaces.Processes()
	if err != nil {
		return nil
	}
	var out []process
	for _, p := range all {
		if is(process{p}) {
			out = append(out, process{p})
		}
	}
	return out
}

func (p process) has(arg string) bool { return slices.Contains(p.Args, arg) }

// program is the file name of what runs.
func (p process) program() string { return filepath.Base(p.Args[0]) }

// onWorker are all processes of a worker's machine: those in its network, and
// those in its pods' cgroups.
func (c *skiffCluster) onWorker(w *worker) []process {
	var machine unix.Stat_t
	if unix.Stat(string(w.host), &machine) != nil {
		return nil
	}
	return processes(func(p process) bool {
		var at unix.Stat_t
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/net", p.PID), &at) == nil && at.Ino == machine.Ino {
			return true
		}
		groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID))
		return err == nil && strings.Contains(string(groups), "/skiff-"+c.hostsID+"-"+w.name+"/")
	})
}

// killAll kills what is found until nothing is.
func killAll(t testing.TB, find func() []process) {
	t.Helper()
	eventually(t, "all processes have ended", func(context.Context) error {
		found := find()
		for _, p := range found {
			_ = unix.Kill(p.PID, unix.SIGKILL) // it may have ended
		}
		if len(found) > 0 {
			return fmt.Errorf("%v run", found)
		}
		return nil
	})
}

// keepDown kills a process that `skiff up` starts again, and takes the lock
// without which it goes no further.
func keepDown(t testing.TB, lock string, find func() []process) (release func()) {
	t.Helper()
	f, err := os.OpenFile(lock, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the lock "+lock+" is free", func(context.Context) error {
		for _, p := range find() {
			_ = unix.Kill(p.PID, unix.SIGKILL) // it may have ended
		}
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	})
	return func() { _ = f.Close() }
}
