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

// allowance is how much garbage a process may hold before it is collected: so
// many bytes, within bounds in per cent of what lives. Go's own rule, as much
// garbage as there is living memory, has a server whose 40 MB live collect
// several times a second under load, for a fifth of its processor time.
type allowance struct {
	bytes       uint64
	least, most uint64 // per cent
}

var (
	// starting is of a process until it has settled, or was given work before.
	// What lives then was made among garbage, whose room is only given back page
	// by page: the less there is of it at a time, the less stays with what lives.
	starting = allowance{bytes: 24 << 20, least: 50, most: 200}
	// idle is of a process that has not filled busy's within idleAfter. What it
	// was given above that goes back to the system. When it gets work it
	// collects once soon, and is busy from then on.
	idle = allowance{bytes: 16 << 20, least: 10, most: 100}
)

// busy is of a process with work, on a machine of so much memory, in bytes: a
// part of it, 256 MiB from 8 GiB on.
func busy(machine uint64) allowance {
	const part, least, most = 32, 32 << 20, 256 << 20
	return allowance{bytes: max(least, min(most, machine/part)), least: 100, most: 1000}
}

// percent is GOGC for a heap of which so many bytes live.
func (a allowance) percent(live uint64) int {
	return int(max(a.least, min(a.most, 100*a.bytes/max(live, 1)))) //nolint:gosec // at most 1000
}

const (
	idleAfter = 30 * time.Second
	// idleLate is how late timers of a process that idles may be: most that it
	// sleeps for are of loops that look ten times a second, or once, and to wake
	// it costs more than what they do.
	idleLate = 10 * time.Millisecond
	// settled is when a process has done what it does once at its start.
	settled = 5 * time.Second
	// startRounds is more collections than a start takes, of a server with all
	// that it has: eight, of which four are by starting's allowance. What comes
	// after them is of requests.
	startRounds = 10
)

// tuneGC keeps to the allowances from now on, unless the user sets GOGC.
func tuneGC() {
	if os.Getenv("GOGC") != "" {
		return
	}
	c := &collections{busy: busy(machineMemory())}
	c.calm = time.AfterFunc(idleAfter, c.rest)
	c.after(time.Now())
	time.AfterFunc(settled, c.settle)
}

// collections are those of this process.
type collections struct {
	busy    allowance
	rounds  atomic.Int32 // collections until now
	calm    *time.Timer  // when no work has come for a while
	settled atomic.Bool
	resting atomic.Bool // the next collection is not for work
	late    atomic.Bool // timers may be late by idleLate
	spare   atomic.Bool // there is a processor more
}

// settle gives back to the system what only the start needed.
func (c *collections) settle() {
	c.settled.Store(true)
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
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(c.allowance(now.Sub(last)).percent(live[0].Value.Uint64()))
	runtime.AddCleanup(new([16]byte), c.after, now)
}

// allowance is what holds after a collection that came so long after another.
func (c *collections) allowance(since time.Duration) allowance {
	rounds := c.rounds.Add(1)
	switch {
	case c.resting.Swap(false):
		c.calm.Stop()
		c.setLate(true)
		c.setSpare(false)
		return idle
	case since >= idleAfter:
		c.setLate(true)
		c.setSpare(false)
		return idle
	case !c.settled.Load() && rounds <= startRounds:
		return starting
	default:
		c.calm.Reset(idleAfter)
		c.setLate(false)
		c.setSpare(true)
		return c.busy
	}
}

// setLate lets timers be late, or no longer. Without the right to say so they
// are not.
func (c *collections) setLate(late bool) {
	if c.late.Swap(late) == late {
		return
	}
	var slack time.Duration
	if late {
		slack = idleLate
	}
	if err := setTimerSlack(slack); err != nil {
		klog.Background().V(1).Info("Timers are as before", "reason", err.Error())
	}
}

// setSpare gives the process a processor of Go's more than the machine has, or
// takes it back. While etcd waits for the disk, a quarter of the time under load,
// the thread that does keeps the one it ran on, for Go looks for such threads
// only now and then.
func (c *collections) setSpare(spare bool) {
	if os.Getenv("GOMAXPROCS") != "" || c.spare.Swap(spare) == spare {
		return
	}
	if spare {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	} else {
		runtime.SetDefaultGOMAXPROCS()
	}
}
