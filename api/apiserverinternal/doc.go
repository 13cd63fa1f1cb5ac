// Package apiserverinternal says what is true of the kinds of
// internal.apiserver.k8s.io: which versions the API servers of a cluster store
// and can read.
//
// Reads nothing, writes nothing. Start at storageversion.go.
package apiserverinternal
