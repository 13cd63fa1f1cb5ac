// Package scheduler gives every pod a node.
//
//	watch ─▶ handlers.go ─▶ queue/ ─▶ loop.go ─▶ cycle/ (plugins/ judge nodes)
//	              └──────▶ cache/ ◀── assume ──────┤
//	                                               ├─▶ bind.go: Binding, event Scheduled
//	                                               └─▶ report.go: condition, event FailedScheduling
//	                                                   preempt.go: victims, nomination
//
// One goroutine decides for one pod after the other, on a snapshot and without
// a lock; what is slow (binding, status, deleting victims) is done beside it.
// The pod is assumed to be on its node from the decision on, so that the next
// one cannot be given the same room. The Binding is create-only: a pod that
// somebody else has bound is left alone. Several schedulers may run side by
// side by name; each counts the pods of all.
//
// Reads Pods, Nodes, Namespaces, Services and controllers' selectors, claims,
// volumes, classes, PodDisruptionBudgets. Writes the Binding, the condition
// PodScheduled and status.nominatedNodeName of pods, the condition
// DisruptionTarget of victims and their deletion, claimRef of volumes and the
// selected-node annotation of claims that wait for a pod, Events, a Lease.
// Start at scheduler.go.
package scheduler
