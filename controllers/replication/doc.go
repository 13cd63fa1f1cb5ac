// Package replication keeps the number of pods of each ReplicationController
// at spec.replicas, by the engine of package replicaset.
//
// Reads ReplicationControllers and Pods. Writes Pods (create, delete, owner
// reference), ReplicationController.status and Events. Start at reconciler.go.
package replication
