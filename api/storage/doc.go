// Package storage says what is true of the kinds of storage.k8s.io: where
// volumes come from.
//
// Reads nothing, writes nothing. Start at kinds.go.
package storage
