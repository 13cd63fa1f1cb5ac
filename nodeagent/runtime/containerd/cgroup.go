//go:build linux

package containerd

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

const (
	cgroupMount  = "/sys/fs/cgroup"
	quotaPeriod  = 100_000 // microseconds, Kubernetes' CPU quota period
	minCPUShares = 2
)

// cgroups makes the cgroups of pods; those of containers are made by runc
// inside. It knows both versions; a hybrid machine counts as version 1, since
// its controllers are there.
type cgroups struct {
	unified bool
	root    string            // before kubepods, starts with a slash
	v1      map[string]string // controller → mount point
}

func detectCgroups(root string) (cgroups, error) {
	c := cgroups{root: filepath.Join("/", root)}
	var fs unix.Statfs_t
	if err := unix.Statfs(cgroupMount, &fs); err != nil {
		return c, fmt.Errorf("look at %s: %w", cgroupMount, err)
	}
	if fs.Type == unix.CGROUP2_SUPER_MAGIC {
		c.unified = true
		return c, nil
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return c, fmt.Errorf("list cgroup mounts: %w", err)
	}
	defer f.Close()
	c.v1 = map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// "… mount-point options … - type source super-options", mountinfo in proc(5).
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields, super := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(super) < 3 || super[0] != "cgroup" {
			continue
		}
		for _, opt := range strings.Split(super[2], ",") {
			c.v1[opt] = fields[4]
		}
	}
	for _, need := range []string{"cpu", "memory"} {
		if c.v1[need] == "" {
			return c, fmt.Errorf("cgroup controller %q is not mounted: mount it or boot with cgroup version 2", need)
		}
	}
	return c, nil
}

func (c *cgroups) version() int {
	if c.unified {
		return 2
	}
	return 1
}

// podPath is where a pod's cgroup stands, as the kubelet lays them out.
func (c *cgroups) podPath(qos corev1.PodQOSClass, uid types.UID) string {
	return filepath.Join(c.root, "kubepods", qosDir(qos), "pod"+string(uid))
}

func (c *cgroups) exists(path string) bool {
	dir := filepath.Join(cgroupMount, path)
	if !c.unified {
		dir = filepath.Join(c.v1["memory"], path)
	}
	_, err := os.Stat(dir)
	return err == nil
}

// makePod makes a pod's cgroup with its limits.
func (c *cgroups) makePod(path string, res runtime.Resources) error {
	if c.unified {
		return c.makePodV2(path, res)
	}
	files := podFilesV1(res)
	files["pids"] = map[string]string{}
	if res.PidsLimit > 0 {
		files["pids"]["pids.max"] = strconv.FormatInt(res.PidsLimit, 10)
	}
	return c.writeV1(path, files)
}

func (c *cgroups) writeV1(path string, files map[string]map[string]string) error {
	for controller, values := range files {
		mount := c.v1[controller]
		if mount == "" {
			continue
		}
		if err := writeCgroup(filepath.Join(mount, path), values); err != nil {
			return err
		}
	}
	return nil
}

// podFilesV1 are the files of CPU and memory by controller. A limit that there
// is not is not written: a pod that lives gets more limits, and never loses one.
func podFilesV1(res runtime.Resources) map[string]map[string]string {
	cpu := map[string]string{"cpu.shares": strconv.FormatUint(max(res.CPUShares, minCPUShares), 10)}
	memory := map[string]string{}
	if res.CPUQuota > 0 {
		cpu["cpu.cfs_period_us"] = strconv.Itoa(quotaPeriod)
		cpu["cpu.cfs_quota_us"] = strconv.FormatInt(res.CPUQuota, 10)
	}
	if res.MemoryLimit > 0 {
		memory["memory.limit_in_bytes"] = strconv.FormatInt(res.MemoryLimit, 10)
	}
	return map[string]map[string]string{"cpu": cpu, "memory": memory}
}

// podFilesV2 are the same on version 2.
func podFilesV2(res runtime.Resources) map[string]string {
	values := map[string]string{"cpu.weight": strconv.FormatUint(cpuWeight(max(res.CPUShares, minCPUShares)), 10)}
	if res.CPUQuota > 0 {
		values["cpu.max"] = fmt.Sprintf("%d %d", res.CPUQuota, quotaPeriod)
	}
	if res.MemoryLimit > 0 {
		values["memory.max"] = strconv.FormatInt(res.MemoryLimit, 10)
	}
	return values
}

// updatePod changes the limits of a pod's cgroup.
func (c *cgroups) updatePod(path string, res runtime.Resources) error {
	if c.unified {
		return writeCgroup(filepath.Join(cgroupMount, path), podFilesV2(res))
	}
	return c.writeV1(path, podFilesV1(res))
}

func (c *cgroups) makePodV2(path string, res runtime.Resources) error {
	values := podFilesV2(res)
	if res.PidsLimit > 0 {
		values["pids.max"] = strconv.FormatInt(res.PidsLimit, 10)
	}
	// A controller has to be switched on in every group above.
	dir := cgroupMount
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		for _, controller := range []string{"cpuset", "cpu", "io", "memory", "pids", "hugetlb"} {
			// One that the kernel does not have, or that stays above, is
			// missing below; setting a limit then says so.
			_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	return writeCgroup(dir, values)
}

func writeCgroup(dir string, values map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	for name, value := range values {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(value), 0o644); err != nil {
			return fmt.Errorf("set cgroup limit: %w", err)
		}
	}
	return nil
}

// cpuWeight maps version 1's shares (2 to 262144) to version 2's weight (1 to
// 10000), linearly as the kubelet does for pods.
func cpuWeight(shares uint64) uint64 {
	return 1 + (min(shares, 262144)-2)*9999/262142
}

// removePod removes a pod's cgroup in all hierarchies, with what is left below.
func (c *cgroups) removePod(path string) error { return c.remove(path) }

// removeAll removes the node's own cgroups; no container may be left. Below the
// kernel's root they are shared with every other node of the machine: what has
// pods in it stays.
func (c *cgroups) removeAll() error {
	if c.root != "/" {
		return c.remove(c.root)
	}
	var errs []error
	for _, path := range []string{"kubepods/besteffort", "kubepods/burstable", "kubepods"} {
		for m := range c.mounts() {
			err := unix.Rmdir(filepath.Join(m, path))
			if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOTEMPTY) {
				errs = append(errs, fmt.Errorf("remove %s: %w", filepath.Join(m, path), err))
			}
		}
	}
	return errors.Join(errs...)
}

// mounts are where the kernel shows cgroups that this node has made.
func (c *cgroups) mounts() map[string]bool {
	mounts := map[string]bool{}
	if c.unified {
		mounts[cgroupMount] = true
	}
	for _, m := range c.v1 {
		mounts[m] = true
	}
	if !c.unified {
		mounts[filepath.Join(cgroupMount, "unified")] = true
	}
	return mounts
}

func (c *cgroups) remove(path string) error {
	var errs []error
	for m := range c.mounts() {
		errs = append(errs, removeCgroup(filepath.Join(m, path)))
	}
	return errors.Join(errs...)
}

func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// oomKills counts the processes of a container that the kernel killed for
// memory.
func (c *cgroups) oomKills(parent, id string) uint64 {
	file := filepath.Join(cgroupMount, parent, id, "memory.events")
	if !c.unified {
		file = filepath.Join(c.v1["memory"], parent, id, "memory.oom_control")
	}
	f, err := os.Open(file)
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if n, ok := strings.CutPrefix(lines.Text(), "oom_kill "); ok {
			kills, _ := strconv.ParseUint(n, 10, 64) // the kernel writes numbers
			return kills
		}
	}
	return 0
}
