// Package statefulset keeps the pods of each StatefulSet: one for each ordinal,
// with a name and claims of storage of its own that outlive it.
//
//	revisions ─▶ current and update templates
//	pods ─▶ slots (an ordinal each) and condemned (ordinals too many)
//	        planPods ─▶ fill slots, from the first on
//	                 ─▶ then condemned away, from the last on
//	                 ─▶ then old templates replaced, from the last on
//	        planStatus ─▶ status, once, at the end
//
// With podManagementPolicy OrderedReady each step waits until all pods of lower
// ordinals are ready; with Parallel only updates keep an order.
//
// Reads StatefulSets, Pods and PersistentVolumeClaims. Writes Pods (create,
// delete, owner reference, the labels of identity), PersistentVolumeClaims
// (create, owner references), ControllerRevisions, StatefulSet.status and
// Events. Start at reconciler.go.
package statefulset
