// Package node says what is true of the RuntimeClass, which names a way to
// run containers.
//
// Reads nothing, writes nothing. Start at kinds.go.
package node
