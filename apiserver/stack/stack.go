// Package stack grows a goroutine's stack in one step.
//
// A write goes some 30 KiB deep. The runtime would copy its stack at 4, 8, 16
// and 32 KiB, the later the more frames, which was 15 % of a create's time.
// Start at Reserve.
package stack

// Reserve has the calling goroutine's stack hold what a request needs, best
// while it is shallow.
func Reserve() { reserve(false) }

const reserved = 36 << 10

// reserve has a frame of that size, for which the runtime makes room when it is
// called. To use the frame would cost clearing it.
//
//go:noinline
func reserve(use bool) {
	if use {
		var frame [reserved]byte
		touch(&frame)
	}
}

//go:noinline
func touch(frame *[reserved]byte) { frame[0] = 1 }
