// Package events says what is true of the Event of events.k8s.io, which is
// the core group's Event in another form, in the same store.
//
// Reads nothing, writes nothing. Start at event.go.
package events
