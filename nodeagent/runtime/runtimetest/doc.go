// Package runtimetest is the conformance suite of runtime.Runtime, and the
// image that its containers run.
//
// Reads the runtime under test. Writes nothing else. Start at Run; Image makes
// an OCI archive from the program beside it.
package runtimetest
