// Package core says what is true of the kinds of the core group ("v1").
//
// Each kind is in the file of its name. Pods have some more:
//
//	podspec.go           what every kind with a pod template calls: defaults,
//	                     validation, warnings; its order is the order in which
//	                     errors are reported
//	podspec_*.go         the parts of a spec: containers, env, handlers, mounts,
//	                     volumes, resources, security, scheduling, …
//	pod.go               the kind
//	pod_update.go        what may change in a pod
//	pod_status.go        what a node's agent may report
//	pod_subresources.go  binding, eviction, ephemeralcontainers, resize, log
//	pod_columns.go       STATUS, READY and RESTARTS
//
// Reads nothing, writes nothing. Start at kinds.go.
package core
