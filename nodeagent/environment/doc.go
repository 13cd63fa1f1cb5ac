// Package environment computes what a container finds in its environment:
// variables, /etc/hosts, /etc/hostname and /etc/resolv.conf.
//
// Reads the pod, ConfigMaps, Secrets and Services that its caller hands over,
// and env files in the pod's volumes. Writes nothing. Start at [Variables].
package environment
