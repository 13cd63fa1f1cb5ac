// Package lifecycle says what is true of the kinds of lifecycle.k8s.io: wishes
// that a pod be evicted, and the evictions that come of them.
//
// Reads nothing but the clock, by which the times in a status are judged, and
// writes nothing. Start at kinds.go; responders.go has what an eviction goes
// through.
package lifecycle
