// Package scheduling says what is true of the kinds of scheduling.k8s.io: how
// important pods are, and which of them are scheduled together.
//
// Reads nothing, writes nothing. Start at kinds.go.
package scheduling
