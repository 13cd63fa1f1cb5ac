package command

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// releaseProgram unmaps the pages of the program's own file. A start runs the
// init functions of two thousand packages and registers a thousand types, all
// over the file; what is needed later is a quarter of that, and comes back from
// the page cache as it is used.
func releaseProgram() error {
	path, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the program's file: %w", err)
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read the program's mappings: %w", err)
	}
	defer func() { _ = f.Close() }()
	for _, m := range parseMappings(bufio.NewScanner(f)) {
		if m.path != path || m.writable || m.changed {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("release pages of %s: %w", path, errno)
		}
	}
	return nil
}

// mapping is a part of a process's memory.
type mapping struct {
	start, end uintptr
	path       string
	writable   bool
	changed    bool // some of its pages are not the file's: they would be lost
}

// parseMappings reads the format of /proc/PID/smaps, proc(5).
func parseMappings(lines *bufio.Scanner) []mapping {
	var out []mapping
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) >= 5 && !strings.HasSuffix(fields[0], ":") {
			m := mapping{path: strings.Join(fields[min(5, len(fields)):], " "), writable: strings.Contains(fields[1], "w")}
			start, end, _ := strings.Cut(fields[0], "-")
			from, _ := strconv.ParseUint(start, 16, 64)
			to, _ := strconv.ParseUint(end, 16, 64)
			m.start, m.end = uintptr(from), uintptr(to)
			out = append(out, m)
		} else if len(out) > 0 && len(fields) > 1 && fields[0] == "Anonymous:" {
			out[len(out)-1].changed = fields[1] != "0"
		}
	}
	return out
}

// machineMemory is the machine's memory in bytes.
func machineMemory() uint64 {
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) != nil {
		return 0 // the least allowance
	}
	return uint64(info.Totalram) * uint64(info.Unit) //nolint:unconvert // other architectures have 32 bits
}
