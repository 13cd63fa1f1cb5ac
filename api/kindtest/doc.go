// Package kindtest holds what the tests of kinds share.
//
// Reads nothing, writes nothing. Start at errors.go.
package kindtest
