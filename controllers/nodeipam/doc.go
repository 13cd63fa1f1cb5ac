// Package nodeipam gives every node its own part of the cluster's pod network.
//
// It reads nodes and writes spec.podCIDR and spec.podCIDRs, once for each node:
// they never change afterwards. What is taken is read from the nodes at start,
// so nothing else needs to be stored. Start at reconciler.go; pool.go holds the
// arithmetic.
package nodeipam
