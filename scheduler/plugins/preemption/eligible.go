package preemption

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins"
)

// Name is the rule's name in Kubernetes.
const Name = "DefaultPreemption"

// Reasons why preemption does not come about.
const (
	NotHelpful = "Preemption is not helpful for scheduling"
	NoVictims  = "No preemption victims found for incoming pod"
)

// Ineligible says why the pod may not preempt others now; empty when it may.
// nominated is the node that the pod was nominated to, nil without;
// rejection is why the pod does not fit there.
func Ineligible(p *cache.Pod, nominated *cache.Node, rejection *plugins.Rejection) string {
	if p.Spec.PreemptionPolicy != nil && *p.Spec.PreemptionPolicy == corev1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	if nominated == nil || rejection != nil && rejection.Code == plugins.Unresolvable {
		return ""
	}
	for _, q := range nominated.Pods {
		if q.Priority < p.Priority && makesRoom(q) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

// makesRoom tells whether a pod is on its way out because of a preemption.
func makesRoom(p *cache.Pod) bool {
	if p.DeletionTimestamp == nil {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.DisruptionTarget {
			return c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
		}
	}
	return false
}
