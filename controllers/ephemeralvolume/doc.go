// Package ephemeralvolume creates the claim of each generic ephemeral volume of
// a pod; the claim belongs to the pod and goes with it.
//
// It reads pods and claims, and creates claims. Start at reconciler.go.
package ephemeralvolume
