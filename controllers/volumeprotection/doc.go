// Package volumeprotection keeps claims that pods use, volumes that claims use, and
// VolumeAttributesClasses that either names from going away under them: it holds
// a finalizer on each and removes it when the last user is gone.
//
// It reads claims, volumes, classes and pods; it writes the finalizers
// kubernetes.io/pvc-protection (claims.go), kubernetes.io/pv-protection
// (volumes.go) and kubernetes.io/vac-protection (classes.go).
package volumeprotection
