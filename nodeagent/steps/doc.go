// Package steps carries out what package podworker decides. A pod's life in
// order, one file each:
//
//	sandbox.go    namespaces and cgroup
//	network.go    addresses and links
//	volume.go     volumes, /etc/hosts, /etc/resolv.conf
//	image.go      the container's image
//	container.go  create, wait for the network, start, postStart hook
//	kill.go       preStop hook, signal, SIGKILL
//	teardown.go   all of it backwards
//
// Sandbox, network, volumes, image and creation overlap: a container waits for
// the network only before its first instruction.
//
// Reads Secrets for image pulls. Writes through the interfaces it is given,
// files of pods, and events. Start at steps.go.
package steps
