// Package autoscaling says what is true of the kinds of autoscaling: what
// changes the number of a workload's pods by measurements.
//
// Reads nothing, writes nothing. Start at kinds.go.
package autoscaling
