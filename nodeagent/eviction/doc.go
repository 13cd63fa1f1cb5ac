// Package eviction keeps a node alive that runs out of memory, disk or process
// IDs: it tells by conditions, removes unused images and ends pods.
//
// Reads the node's memory, file systems and PID table and the usage of pods.
// Writes nothing itself: pods are ended by its [Backend]. Start at [Evictor];
// image garbage collection is [Images].
package eviction
