// Package discovery says what is true of the EndpointSlice, which holds the
// addresses behind services.
//
// Reads nothing, writes nothing. Start at kinds.go.
package discovery
