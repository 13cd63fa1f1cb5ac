// Package podgc deletes pods that nobody else will: those of nodes that are
// gone, those that terminate without ever having had a node, those stuck on a
// node that is marked out of service, and the oldest terminated ones when there
// are too many.
//
// It reads pods and nodes; it writes a pod's phase (Failed) and condition
// DisruptionTarget just before it deletes the pod without grace. Start at
// reconciler.go; plan.go decides.
package podgc
