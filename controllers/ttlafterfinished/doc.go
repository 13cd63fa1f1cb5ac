// Package ttlafterfinished deletes Jobs spec.ttlSecondsAfterFinished after
// their end, with their pods.
//
// Reads Jobs. Writes Jobs (delete). Start at reconciler.go.
package ttlafterfinished
