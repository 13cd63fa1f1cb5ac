// Package nodeagent runs the pods that are bound to one node.
//
//	podsource/ desired ─▶ podworker/ (one pod, one state machine) ─▶ steps/ ─▶ runtime/ ─▶ containers
//	observe/ observed ──▶ podworker/ ─▶ status/ (the only writer of pod.status) ─▶ apiserver
//
// A pod runs with the resources that allocation has for it, which resize.go
// grants; resources turns them into limits of cgroups and back into a status.
//
// podworker decides and is pure; steps act; runtime, image, volume, network
// and probe each own a small interface, so that the same agent runs on
// containerd or in memory. node registers the Node and keeps its status and
// lease; serve is the HTTPS API on 10250 (logs, exec, attach, port-forward,
// stats) and health on 10248.
//
// Reads pods bound to its node, ConfigMaps, Secrets, Services, the Node.
// Writes its Node and Lease, the status of its pods, events; containers,
// network namespaces and files below its data directory.
package nodeagent
