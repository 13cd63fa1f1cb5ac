// Package cycle finds the node for one pod:
//
//	prefilter ─▶ filter (a sample of nodes) ─▶ score ─▶ the best node
//	                 └─ none fits ─▶ preempt: who would have to go
//
// The rules and their order are listed in rules.go; schedule.go runs them;
// unfit.go says in Kubernetes' words why a pod fits nowhere; preempt.go looks
// for victims; explain.go gives the reasons for each node.
//
// Reads the cache's snapshot; writes nothing: what was found is acted on by
// package scheduler. Start at schedule.go.
package cycle
