package node

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Machine reads what this machine has: capacity, with the file system of dir,
// and what it is.
func Machine(dir string) (corev1.ResourceList, corev1.NodeSystemInfo, error) {
	memory, err := totalMemory()
	if err != nil {
		return nil, corev1.NodeSystemInfo{}, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return nil, corev1.NodeSystemInfo{}, fmt.Errorf("size of the file system of %s: %w", dir, err)
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(memory, resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(int64(fs.Blocks)*fs.Bsize, resource.BinarySI),
	}
	pages, err := filepath.Glob("/sys/kernel/mm/hugepages/hugepages-*kB")
	if err != nil {
		return nil, corev1.NodeSystemInfo{}, fmt.Errorf("list huge pages: %w", err)
	}
	for _, dir := range pages {
		kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(filepath.Base(dir), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue // not a size
		}
		count, _ := strconv.ParseInt(readLine(filepath.Join(dir, "nr_hugepages")), 10, 64) // none if unreadable
		size := resource.NewQuantity(kb<<10, resource.BinarySI)
		capacity[corev1.ResourceName(corev1.ResourceHugePagesPrefix+size.String())] = *resource.NewQuantity(count*kb<<10, resource.BinarySI)
	}
	return capacity, systemInfo(), nil
}

func totalMemory() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, fmt.Errorf("read memory size: %w", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 2 && fields[0] == "MemTotal:" {
			kb, err := strconv.ParseInt(fields[1], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("read memory size: no MemTotal in /proc/meminfo")
}

func readLine(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func systemInfo() corev1.NodeSystemInfo {
	info := corev1.NodeSystemInfo{
		MachineID:       readLine("/etc/machine-id"),
		SystemUUID:      strings.ToLower(readLine("/sys/class/dmi/id/product_uuid")),
		BootID:          readLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion:   readLine("/proc/sys/kernel/osrelease"),
		OperatingSystem: runtime.GOOS,
		Architecture:    runtime.GOARCH,
		OSImage:         osImage(),
	}
	if info.SystemUUID == "" {
		info.SystemUUID = info.MachineID
	}
	return info
}

func osImage() string {
	f, err := os.Open("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "PRETTY_NAME="); ok {
			return strings.Trim(name, `"`)
		}
	}
	return "Linux"
}
