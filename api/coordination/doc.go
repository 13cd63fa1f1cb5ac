// Package coordination says what is true of the kinds of coordination.k8s.io:
// the Lease, by which components show that they live and elect leaders, and the
// LeaseCandidate, from which a leader is chosen.
//
// Reads nothing, writes nothing. Start at kinds.go.
package coordination
