// Package status makes pod.status from what is observed, and writes it.
//
// Generate is pure; containers.go, phase.go and conditions.go are its parts.
// The Writer is the only writer of a pod's status and container statuses on
// this node: one patch for each change, of what has changed only, and at the
// end the deletion of a pod that has been ended.
//
// Reads pods, as the worker gives them. Writes pods/status, deletes pods.
package status
