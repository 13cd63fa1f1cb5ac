// Package cni connects pods by plugins of the Container Network Interface
// (https://www.cni.dev/docs/spec/), through github.com/containerd/go-cni.
//
// The first configuration in a directory is used, in the order of file names,
// and read again whenever the directory changes: a DaemonSet may put it there
// while the node runs. Addresses are what plugins give; routes between nodes and
// policies are the plugins' matter too.
//
// Reads configurations and runs plugins. Writes one file for each connected
// pod, from which it is disconnected after a restart. Start at New.
package cni
