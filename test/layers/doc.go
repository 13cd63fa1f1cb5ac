// Package layers holds the picture of which part of skiff may import which,
// as a table that a test compares with what `go list` sees.
//
// Reads the import graph; writes nothing. Start at layers_test.go.
package layers
