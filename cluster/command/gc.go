package command

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// allowance is how much garbage a process may hold before it is collected, at
// the least. Go's own rule, as much garbage as there is living memory, has a
// server whose 25 MB live collect a hundred times a second under load, for a
// sixth of its processor time. While it idles, the collection that Go forces
// every two minutes keeps it far below.
const allowance = 64 << 20

// tuneGC keeps to the allowance from now on, unless the user sets GOGC.
func tuneGC() {
	if os.Getenv("GOGC") == "" {
		afterGC()
	}
}

// afterGC sets what the next collection waits for, and comes again after it.
func afterGC() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	debug.SetGCPercent(gcPercent(live[0].Value.Uint64()))
	runtime.AddCleanup(new([16]byte), func(struct{}) { afterGC() }, struct{}{})
}

// gcPercent is GOGC for a heap of which so many bytes live.
func gcPercent(live uint64) int {
	const most = 1000                                           // a heap that has not been measured yet
	return int(min(most, max(100, 100*allowance/max(live, 1)))) //nolint:gosec // at most 1000
}
