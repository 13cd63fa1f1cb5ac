// Package node watches over the nodes' lives: it notices those that fall silent,
// marks what is wrong with a node as taints, and evicts pods from nodes that
// cannot run them any more.
//
//	leases, heartbeats ─▶ monitor: silent for 40 s? conditions become Unknown
//	                         │
//	conditions ──────────────┼▶ taints: NoSchedule at once, for each condition
//	                         └▶ zones: NoExecute, few at a time when a zone is ill
//	NoExecute taints ─▶ eviction: each pod after the time that it tolerates
//
// It reads nodes, the leases in kube-node-lease, and pods. It writes a silent
// node's conditions (its agent writes them otherwise), the taints
// node.kubernetes.io/… that stand for conditions, the two older labels of
// operating system and architecture, and of pods the condition Ready (False when
// their node is silent) and DisruptionTarget; it deletes pods. Start at
// reconciler.go; health.go, zones.go, taints.go and eviction.go decide.
package node
