package plugins

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/cache"
)

// Kind is a set of kinds of events.
type Kind uint32

// The kinds of events that rules wait for.
const (
	NodeAdded       Kind = 1 << iota
	NodeAllocatable      // a node's allocatable resources changed
	NodeLabels           // a node's labels changed
	NodeTaints           // a node's taints or spec.unschedulable changed
	PodPlaced            // a pod came to a node
	PodRelabeled         // a pod on a node changed its labels
	PodShrunk            // a pod on a node requests less
	PodRemoved           // a pod left a node, or gave up its nomination to one
	ClaimChanged         // a PersistentVolumeClaim was added or changed
	VolumeChanged        // a PersistentVolume was added or changed
	ClassChanged         // a StorageClass was added or changed
	CSINodeChanged       // a CSINode was added or changed
	NamespaceLabels      // a namespace's labels changed
)

// Event is something that happened and that may make pods schedulable. Only
// the fields of its kind are set.
type Event struct {
	Kind        Kind
	Node        *corev1.Node
	Pod, OldPod *cache.Pod // OldPod is nil for additions
	Claim       *corev1.PersistentVolumeClaim
}

// Waker is a rule that says which events make it worth to try again a pod
// that it rejected.
type Waker interface {
	Name() string
	// WakesOn are the kinds of events that Wakes must be asked about.
	WakesOn() Kind
	// Wakes tells whether the event may change the rule's answer for the pod.
	Wakes(pod *cache.Pod, e *Event) bool
}
