// Package apps says what is true of the kinds of the apps group, which keep
// sets of pods.
//
// Reads nothing, writes nothing. Start at kinds.go, then deployment.go.
package apps
