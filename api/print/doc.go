// Package print holds what table cells of several kinds share. Ages are not
// made here: a column gives a time, and the registry prints its age.
//
// Reads nothing, writes nothing. Start at cells.go.
package print
