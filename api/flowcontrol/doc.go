// Package flowcontrol says what is true of the kinds of
// flowcontrol.apiserver.k8s.io: which requests belong together and how many of
// them are served at a time.
//
// Reads nothing, writes nothing. Start at kinds.go.
package flowcontrol
