package cluster

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// startAllowance is how much garbage the process may hold, at the least, while
// a cluster starts, and until the collection after that. A start makes twice as
// much garbage as it leaves living memory; by Go's own rule, as much garbage as
// there is living memory, it is collected three or four times on the way, for a
// third of the start's processor time.
const startAllowance = 128 << 20

// goPercent is Go's own GOGC. Whoever has set another knows why.
const goPercent = 100

// starting counts the clusters of this process that are being started.
var starting struct {
	sync.Mutex
	clusters int
	relaxed  bool // GOGC is ours until a collection finds no cluster starting
}

// relaxGC gives the process startAllowance; done says that a start has ended.
func relaxGC() (done func()) {
	starting.Lock()
	defer starting.Unlock()
	starting.clusters++
	if !starting.relaxed {
		if before := debug.SetGCPercent(goPercent); before != goPercent {
			debug.SetGCPercent(before)
		} else {
			starting.relaxed = true
			allowGarbage()
		}
	}
	return func() {
		starting.Lock()
		defer starting.Unlock()
		starting.clusters--
	}
}

// allowGarbage sets what the next collection waits for, and has afterGC called
// after it: with many clusters, the allowance is soon little beside what lives.
func allowGarbage() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(startPercent(live[0].Value.Uint64()))
	runtime.AddCleanup(new([16]byte), afterGC, struct{}{})
}

// afterGC takes the allowance back, which while it is used up would cost those
// who work on most: each would have to collect as fast as it makes garbage.
func afterGC(struct{}) {
	starting.Lock()
	defer starting.Unlock()
	if starting.clusters > 0 {
		allowGarbage()
		return
	}
	starting.relaxed = false
	debug.SetGCPercent(goPercent)
}

// startPercent is GOGC for a heap of which so many bytes live.
func startPercent(live uint64) int {
	const least = 1 << 20                                           // nothing has been measured before the first collection
	return int(max(goPercent, 100*startAllowance/max(live, least))) //nolint:gosec // at most 12,800
}
