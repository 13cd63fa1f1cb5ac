// Package preemption is the rule that a pod which fits nowhere may take the
// place of pods of lower priority.
//
// All of it is decision: on each node, SelectVictims finds the fewest and
// least important pods that must go; Pick chooses the node where the loss is
// smallest. PodDisruptionBudgets are respected where there is a choice. The
// scheduler then deletes the victims and nominates the pod to the node.
//
// Reads pods, priorities and PodDisruptionBudgets; writes nothing itself.
// Start at victims.go.
package preemption
