// Package node registers the agent's Node, keeps its status and renews its
// lease.
//
// Status is compared every ten seconds and written when it has changed, or
// every five minutes; the lease, which is small, is renewed every ten seconds.
// A node at rest costs one small write in ten seconds.
//
// Reads its Node. Writes its Node (labels at registration, status) and its
// Lease in kube-node-lease. Start at Node.Run; status.go is pure.
package node
