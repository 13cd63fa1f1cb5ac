// Package policy says what is true of the PodDisruptionBudget, which bounds
// how many pods may be taken away at once.
//
// Reads nothing, writes nothing. Start at kinds.go.
package policy
