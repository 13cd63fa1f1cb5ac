// Package pods serves what only pods, and the nodes they run on, have:
// binding, eviction, ephemeral containers and resize change the object; log,
// exec, attach, port-forward and proxy are passed on to the node's agent
// (connect.go) or the pod itself (proxy.go).
//
// Reads pods and nodes. Writes pods: spec.nodeName, spec.ephemeralContainers,
// a container's resources; deletes on eviction. Start at New.
package pods
