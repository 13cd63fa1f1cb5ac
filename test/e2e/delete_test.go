package e2e_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// TestDelete removes a cluster whose process was killed, with all that it did to
// the machine. The next test that asks for it gets a new one.
func TestDelete(t *testing.T) {
	c := running(t)
	k := &kubectl{c, "default"}
	k.run(t, "create", "deployment", "web", "--image="+helloV1, "--replicas=2")
	k.run(t, "expose", "deployment", "web", "--port=80", "--target-port=8080")
	k.run(t, "run", "reader", "--image="+tools, "--", "sleep")
	k.run(t, "rollout", "status", "deployment/web", "--timeout=90s")
	k.run(t, "wait", "pod/reader", "--for=condition=Ready", "--timeout=90s")
	var uids []string
	for _, p := range k.pods(t, "") {
		uids = append(uids, string(p.UID))
	}
	if left := leftovers(t, c, uids); len(left) < 4 {
		t.Errorf("a cluster with pods is seen by %q only", left)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	c.up.signal(t, syscall.SIGKILL)
	c.up = nil
	out, err := skiff("delete", "--profile", c.profile, "--data-dir", c.dir(), "--kubeconfig", c.kubeconfig()).CombinedOutput()
	if err != nil {
		t.Fatalf("skiff delete: %v\n%s", err, out)
	}
	c.loaded = false
	eventually(t, "nothing is left", func() (bool, string) {
		left := leftovers(t, c, uids)
		return len(left) == 0, strings.Join(left, "\n")
	})
	if _, err := os.Stat(c.dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the data directory is left: %v", err)
	}
	out, err = skiff("delete", "--profile", c.profile, "--data-dir", c.dir()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "there is no cluster") {
		t.Errorf("delete again: got %v:\n%s", err, out)
	}
}

// leftovers names what a cluster has on the machine outside of its files.
func leftovers(t *testing.T, c *cluster, uids []string) []string {
	t.Helper()
	var out []string
	eachProcess(t, func(_ int, args []string) {
		if all := strings.Join(args, " "); strings.Contains(all, c.dir()+"/") || strings.Contains(all, "/bin/hello") {
			out = append(out, "process "+all)
		}
	})
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, c.dir()+"/") {
			out = append(out, "mount "+line)
		}
	}
	links, err := netlink.LinkList()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; !slices.Contains([]string{"lo", "uplink", "nowhere"}, name) {
			out = append(out, "link "+name)
		}
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addresses {
		if !a.IP.IsLoopback() && !a.IP.IsLinkLocalUnicast() && !slices.Contains([]string{nodeIP, nodeIP6}, a.IP.String()) {
			out = append(out, "address "+a.String())
		}
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Dst != nil && strings.HasPrefix(r.Dst.String(), "10.") {
			out = append(out, "route "+r.String())
		}
	}
	rules, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	tables, err := rules.ListTables()
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range tables {
		out = append(out, "nftables table "+table.Name)
	}
	err = filepath.WalkDir("/sys/fs/cgroup", func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // others' groups come and go
		}
		if e.IsDir() && slices.ContainsFunc(uids, func(uid string) bool { return strings.Contains(e.Name(), uid) }) {
			out = append(out, "cgroup "+path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
