// Package volumeprotection keeps claims that pods use, and volumes that claims
// use, from going away under them: it holds a finalizer on each and removes it
// when the last user is gone.
//
// It reads claims, volumes and pods; it writes the finalizers
// kubernetes.io/pvc-protection (claims.go) and kubernetes.io/pv-protection
// (volumes.go).
package volumeprotection
