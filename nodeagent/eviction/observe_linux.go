package eviction

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// observe reads the signals of this machine.
func observe(dataDir, imageDir string) (Observations, error) {
	seen := Observations{}
	var failed []error
	add := func(signal Signal, o Observation, err error) {
		if err != nil {
			failed = append(failed, err)
		} else if o.Capacity > 0 { // Some file systems do not count inodes.
			seen[signal] = o
		}
	}
	memory, err := memoryOf("/proc/meminfo")
	add(MemoryAvailable, memory, err)
	pids, err := pidsOf("/proc/sys/kernel/pid_max", "/proc/loadavg")
	add(PIDAvailable, pids, err)
	disk, inodes, err := diskOf(dataDir)
	add(NodeFsAvailable, disk, err)
	add(NodeFsInodesFree, inodes, err)
	if imageDir == "" {
		imageDir = dataDir
	}
	disk, inodes, err = diskOf(imageDir)
	add(ImageFsAvailable, disk, err)
	add(ImageFsInodesFree, inodes, err)
	return seen, errors.Join(failed...)
}

// memoryOf counts as available what is free and file pages that have not been
// used of late: what is not in the kubelet's working set.
func memoryOf(meminfo string) (Observation, error) {
	content, err := os.ReadFile(meminfo)
	if err != nil {
		return Observation{}, fmt.Errorf("read memory: %w", err)
	}
	values := map[string]uint64{}
	for lines := bufio.NewScanner(bytes.NewReader(content)); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			if kib, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
				values[name] = kib << 10
			}
		}
	}
	if values["MemTotal"] == 0 {
		return Observation{}, fmt.Errorf("read memory: %s has no MemTotal", meminfo)
	}
	return Observation{Available: values["MemFree"] + values["Inactive(file)"], Capacity: values["MemTotal"]}, nil
}

// pidsOf counts threads, each of which takes a PID.
func pidsOf(pidMax, loadavg string) (Observation, error) {
	content, err := os.ReadFile(pidMax)
	if err != nil {
		return Observation{}, fmt.Errorf("read the number of PIDs: %w", err)
	}
	capacity, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
	if err != nil {
		return Observation{}, fmt.Errorf("read the number of PIDs: %w", err)
	}
	if content, err = os.ReadFile(loadavg); err != nil {
		return Observation{}, fmt.Errorf("read the number of threads: %w", err)
	}
	fields := strings.Fields(string(content))
	if len(fields) < 4 {
		return Observation{}, fmt.Errorf("read the number of threads: %s has %d fields", loadavg, len(fields))
	}
	_, total, _ := strings.Cut(fields[3], "/")
	threads, err := strconv.ParseUint(total, 10, 64)
	if err != nil {
		return Observation{}, fmt.Errorf("read the number of threads: %w", err)
	}
	return Observation{Available: capacity - min(threads, capacity), Capacity: capacity}, nil
}

func diskOf(dir string) (disk, inodes Observation, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return disk, inodes, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	size := uint64(st.Bsize)
	return Observation{Available: st.Bavail * size, Capacity: st.Blocks * size},
		Observation{Available: st.Ffree, Capacity: st.Files}, nil
}
