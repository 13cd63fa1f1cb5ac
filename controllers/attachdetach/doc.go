// Package attachdetach asks for volumes of CSI drivers to be attached to the
// nodes whose pods use them, and to be detached when none does. A driver's
// external-attacher does what is asked for.
//
//	pods of a node ─▶ wanted ─┐
//	VolumeAttachments ────────┼─▶ plan ─▶ node.status.volumesAttached,
//	node.status.volumesInUse ─┘          VolumeAttachments, events
//
// It reads pods, claims, volumes, CSIDrivers, nodes and VolumeAttachments;
// writes VolumeAttachments and volumesAttached in nodes' status. Volumes that
// are no CSI driver's are left to the node. Start at reconciler.go; what is
// decided is in plan.go.
package attachdetach
