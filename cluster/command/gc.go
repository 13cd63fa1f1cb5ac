package command

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"k8s.io/klog/v2"
)

// A process may hold some garbage before it is collected, at the least. Go's
// own rule, as much garbage as there is living memory, has a server whose 40 MB
// live collect several times a second under load, for a fifth of its processor
// time.
const (
	// leastBusy and mostBusy bound what a process with work may hold, which is
	// a part of the machine's memory: 256 MiB from 8 GiB on.
	leastBusy, mostBusy = 32 << 20, 256 << 20
	partOfMachine       = 32
	// idleAllowance is of a process that has not filled the other one within
	// idleAfter. What it was given above that goes back to the system, page by
	// page. When it gets work it collects once soon, and is busy from then on.
	idleAllowance = 16 << 20
	idleAfter     = 30 * time.Second
	// settled is when a process has done what it does once at its start, whose
	// garbage is twice what stays.
	settled = 5 * time.Second
)

// tuneGC keeps to the allowances from now on, unless the user sets GOGC.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	// Whoever was busy collects once when no work came for a while, and gives
	// the memory back.
	calm := time.AfterFunc(idleAfter, debug.FreeOSMemory)
	afterGC(time.Now(), calm)
	time.AfterFunc(settled, settle)
}

// settle gives back to the system what only the start needed.
func settle() {
	debug.FreeOSMemory()
	if err := releaseProgram(); err != nil {
		klog.Background().V(1).Info("Memory of the start is kept", "reason", err.Error())
	}
}

// afterGC sets what the next collection waits for, and comes again after it.
func afterGC(last time.Time, calm *time.Timer) {
	now := time.Now()
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	since := now.Sub(last)
	debug.SetGCPercent(gcPercent(live[0].Value.Uint64(), busyAllowance(machineMemory()), since))
	if since < idleAfter {
		calm.Reset(idleAfter)
	}
	runtime.AddCleanup(new([16]byte), func(last time.Time) { afterGC(last, calm) }, now)
}

// busyAllowance is for a machine of so much memory, in bytes.
func busyAllowance(machine uint64) uint64 {
	return max(leastBusy, min(mostBusy, machine/partOfMachine))
}

// gcPercent is GOGC for a heap of which so many bytes live, with what it may hold
// while it is busy, some time after the collection before.
func gcPercent(live, busy uint64, since time.Duration) int {
	live = max(live, 1)
	if since > idleAfter {
		return int(max(10, min(100, 100*idleAllowance/live))) //nolint:gosec // at most 100
	}
	const most = 1000                              // a heap that has not been measured yet
	return int(min(most, max(100, 100*busy/live))) //nolint:gosec // at most 1000
}
