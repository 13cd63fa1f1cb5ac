// Package batch says what is true of the kinds of the batch group: pods that
// run to an end, once or by the clock.
//
// Reads nothing, writes nothing. Start at kinds.go, then job.go.
package batch
