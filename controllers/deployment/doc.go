// Package deployment turns each Deployment into ReplicaSets, one for each pod
// template that it has had, and moves replicas from the old ones to the new
// one at the rate that its strategy allows.
//
//	list sets ─┬ paused, or scaled ─────▶ planScale ──────────────┐
//	           ├ Recreate ─────▶ planRecreate ─┐                  ├▶ sizes ─▶ sets
//	           └ RollingUpdate ▶ ensureNew ────┴▶ planRolling ────┘
//	                                       planHistory ─▶ delete old sets
//	                           planStatus ─▶ status, once, at the end
//
// Reads Deployments, ReplicaSets and, for Recreate, Pods. Writes ReplicaSets
// (create, delete, spec.replicas, spec.minReadySeconds, annotations, owner
// reference), the Deployment's revision annotation and its status, and Events.
// Start at reconciler.go.
package deployment
