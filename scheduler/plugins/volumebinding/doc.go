// Package volumebinding is the rule that a pod's volumes must be there, or be
// obtainable, on its node.
//
// Claims of classes with volumeBindingMode Immediate are bound by the volume
// controller before the pod is scheduled. Claims of WaitForFirstConsumer are
// bound here: Plan says, for the node that was chosen, which free volumes are
// taken and which claims are to be provisioned for the node; the scheduler
// writes that (claimRef of the volume, selected-node annotation of the claim)
// and waits until the volume controller has bound all before it binds the pod.
//
// Reads PersistentVolumeClaims, PersistentVolumes, StorageClasses; writes
// nothing itself. Start at filter.go.
package volumebinding
