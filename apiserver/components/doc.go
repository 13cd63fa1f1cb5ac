// Package components serves ComponentStatus: how the parts of the control plane
// do. Nothing is stored; each answer is looked up when it is asked for.
//
// Reads etcd's health and the leases of leaders, writes nothing. Start at
// components.go.
package components
