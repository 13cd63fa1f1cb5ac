// Package containerd runs pods with containerd, without CRI and without pause
// containers.
//
// A sandbox is a set of namespaces (network, IPC, UTS) that are kept by bind
// mounts below the run directory, and a cgroup. A container is a containerd
// container whose labels say what it is; all containers of a pod share one
// shim. What a container prints is written by its shim to plain files, from
// which this package makes the log in CRI's format: nothing is lost while the
// agent is away, since the shim needs nobody to read.
//
// Reads containerd's containers, tasks, images and events in one namespace.
// Writes the same, and files below its run and state directories. Start at
// runtime.go; container.go has a container's life, spec.go what it is made of,
// supervisor.go the containerd that the agent starts itself.
package containerd
