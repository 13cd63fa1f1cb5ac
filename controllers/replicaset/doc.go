// Package replicaset keeps the number of pods of each ReplicaSet at
// spec.replicas: it creates, deletes, adopts and releases pods.
//
// The same engine serves ReplicationController, see package replication: only
// the kind differs, described by [Kind].
//
//	pods ─▶ adopt, release ─▶ planScale ─┬▶ create, in batches 1, 2, 4, 8 …
//	                                     └▶ delete, the least useful first
//	                          planStatus ─▶ status, once, at the end
//
// Reads ReplicaSets and Pods. Writes Pods (create, delete, owner reference),
// ReplicaSet.status and Events. Start at reconciler.go.
package replicaset
