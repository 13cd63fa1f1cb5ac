// Package schedulinggates is the rule that a pod with scheduling gates is not
// tried before all of them are removed.
//
// Reads spec.schedulingGates; writes nothing. Start at Gated.
package schedulinggates

import corev1 "k8s.io/api/core/v1"

// Name is the rule's name in Kubernetes.
const Name = "SchedulingGates"

// Message is the message of the condition PodScheduled of gated pods.
const Message = "Scheduling is blocked due to non-empty scheduling gates"

// Gated tells whether a pod may not be scheduled yet.
func Gated(p *corev1.Pod) bool { return len(p.Spec.SchedulingGates) > 0 }
