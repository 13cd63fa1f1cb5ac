// Package persistentvolume binds PersistentVolumeClaims to PersistentVolumes,
// asks provisioners for volumes that there are none of, and lets volumes go
// whose claims are gone.
//
//	claim ─▶ find a volume ─▶ volume.spec.claimRef ─▶ claim.spec.volumeName ─▶ both Bound
//	            └ none: the class's provisioner makes one for the claim
//
// Binding is written in that order, each step only where it is missing, so that
// a turn that was cut short goes on where it ended.
//
// It reads claims, volumes and storage classes; it writes a volume's claimRef
// and phase, a claim's volumeName, its annotations of binding and provisioning,
// and its status. Start at claim.go; volume.go is the other side, and plan.go
// decides.
package persistentvolume
