// Package podworker decides what is to be done next for one pod, and does it.
//
// Next is pure: from the pod, what is observed of it and what was done before,
// it gives actions. The Worker is the thin loop around it: each action runs in
// a goroutine of its own, at most one of a key at a time, and its end is a
// reason for another turn. A pod at rest costs no goroutine.
//
// Reads the pod and what the runtime, network, volumes and probes say of it.
// Writes nothing: actions are carried out by package steps, status by package
// status. Start at next.go; testdata has its decisions as scripts.
package podworker
