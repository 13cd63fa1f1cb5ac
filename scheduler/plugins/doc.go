// Package plugins says what a scheduling rule is. Each rule is one small
// package below this one; scheduler/cycle holds the list of them with their
// order and weights.
//
// A rule is asked once for each pod (PreFilter, PreScore) and answers with a
// Check or a Scorer, which is then asked for each node; nil means that the
// rule has nothing to say of this pod and costs nothing further. Rules are
// pure: what they know comes from the Turn's snapshot, or from small lookup
// functions that they were made with. Many goroutines may ask one Check or
// Scorer at once.
//
// A rule that rejects pods also says which events may change its mind
// (Waker), so that the queue tries a pod again when there is a reason to and
// not before.
//
// Reads and writes nothing. Start at plugins.go, then nodeports as an example.
package plugins
