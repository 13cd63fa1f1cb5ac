// Package apiregistration says what is true of the APIService: who serves a
// group and version.
//
// Reads nothing, writes nothing. Start at apiservice.go.
package apiregistration
