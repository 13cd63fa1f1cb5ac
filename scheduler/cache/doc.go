// Package cache holds what the scheduler knows of nodes and of the pods on
// them.
//
// A Cache is filled by the watches (SetNode, SetPod, Remove…) and by the
// scheduler itself, which assumes a pod to be on the node that it has just
// chosen until the watch confirms it or the bind fails. A cycle never reads
// the Cache: it brings its Snapshot up to date, which copies only the nodes
// that changed since the last time, and reads that without locks.
//
// Reads nothing and writes nothing outside memory. Start at cache.go; pod.go
// and node.go say what is computed once and kept.
package cache
