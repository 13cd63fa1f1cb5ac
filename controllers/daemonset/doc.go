// Package daemonset keeps one pod of each DaemonSet on every node that it is
// for, and replaces the pods of an old template at the rate that its strategy
// allows.
//
//	nodes, pods ─▶ planPods ─┬▶ create, bound to its node by affinity
//	                         └▶ delete: ended, doubled, on a wrong node
//	  if all is as it should be: planRolling ─▶ delete old, or add new (surge)
//	               planStatus ─▶ status, once, at the end
//
// Reads DaemonSets, Pods and Nodes. Writes Pods (create, delete, owner
// reference), ControllerRevisions, DaemonSet.status and Events. Start at
// reconciler.go.
package daemonset
