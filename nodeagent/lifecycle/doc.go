// Package lifecycle calls the postStart and preStop hooks of containers.
//
// Reads the pod. Writes nothing: what went wrong is an [Error], with the event
// that the kubelet would record. Start at [Hooks].
package lifecycle
