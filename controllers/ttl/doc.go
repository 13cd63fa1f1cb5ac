// Package ttl tells node agents how long they may use a Secret or ConfigMap
// without asking again: the longer the more nodes there are.
//
// It reads nodes and writes their annotation node.alpha.kubernetes.io/ttl.
// Start at reconciler.go.
package ttl
