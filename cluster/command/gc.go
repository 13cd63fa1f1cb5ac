package command

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
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
	c := &collections{busy: busyAllowance(machineMemory())}
	c.calm = time.AfterFunc(idleAfter, c.rest)
	c.after(time.Now())
	time.AfterFunc(settled, c.settle)
}

// collections are those of this process.
type collections struct {
	busy    uint64      // how much garbage it may hold while it has work
	calm    *time.Timer // when no work has come for a while
	resting atomic.Bool // the next collection is not for work
}

// settle gives back to the system what only the start needed.
func (c *collections) settle() {
	c.rest()
	if err := releaseProgram(); err != nil {
		klog.Background().V(1).Info("Memory of the start is kept", "reason", err.Error())
	}
}

// rest collects once and gives back what work needed.
func (c *collections) rest() {
	c.resting.Store(true)
	debug.FreeOSMemory()
}

// after a collection it sets what the next one waits for, and comes again then.
func (c *collections) after(last time.Time) {
	now := time.Now()
	since := now.Sub(last)
	switch {
	case c.resting.Swap(false):
		c.calm.Stop()
		since = idleAfter
	case since < idleAfter:
		c.calm.Reset(idleAfter)
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(gcPercent(live[0].Value.Uint64(), c.busy, since))
	runtime.AddCleanup(new([16]byte), c.after, now)
}

// busyAllowance is for a machine of so much memory, in bytes.
func busyAllowance(machine uint64) uint64 {
	return max(leastBusy, min(mostBusy, machine/partOfMachine))
}

// gcPercent is GOGC for a heap of which so many bytes live, with what it may hold
// while it is busy, some time after the collection before.
func gcPercent(live, busy uint64, since time.Duration) int {
	live = max(live, 1)
	if since >= idleAfter {
		return int(max(10, min(100, 100*idleAllowance/live))) //nolint:gosec // at most 100
	}
	const most = 1000                              // a heap that has not been measured yet
	return int(min(most, max(100, 100*busy/live))) //nolint:gosec // at most 1000
}
