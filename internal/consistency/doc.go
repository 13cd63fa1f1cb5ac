// Package consistency lets a reconciler read its own writes: it waits until
// the cache holds them, so that a turn never decides on what it has itself
// already changed.
//
// A write's answer carries a resourceVersion, and versions of one kind can be
// compared (since Kubernetes 1.35). Once the cache has seen that version or a
// later one, it holds the write. A deletion has been seen when the object is
// gone from the cache or is marked as terminating there.
//
//	turn n:   create pod ─▶ Wrote(set, pod)
//	turn n+1: Wait(set) … cache has it … list pods ─▶ plan
//
// Reads informers' stores; writes nothing. Start at [Tracker].
package consistency
