package disruption

import (
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	budgets "k8s.io/component-helpers/apps/poddisruptionbudget"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// deletionTimeout is how long a pod whose eviction the API server allowed is
// taken for gone before its deletion is seen; later the eviction counts as
// failed (upstream's number).
const deletionTimeout = 2 * time.Minute

// needsScale tells whether a budget is about a share of all pods that there
// should be, and not only about those that there are.
func needsScale(budget *policyv1.PodDisruptionBudget) bool {
	return budget.Spec.MaxUnavailable != nil || (budget.Spec.MinAvailable != nil && budget.Spec.MinAvailable.Type == intstr.String)
}

// planExpected says how many pods there should be, and how many of them healthy.
func planExpected(budget *policyv1.PodDisruptionBudget, pods int, replicas int32) (expected, desired int32, err error) {
	least, most := budget.Spec.MinAvailable, budget.Spec.MaxUnavailable
	switch {
	case most != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(most, int(replicas), true)
		return replicas, max(0, replicas-int32(n)), err
	case least == nil:
		return 0, 0, nil
	case least.Type == intstr.Int:
		return int32(pods), least.IntVal, nil
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(least, int(replicas), true)
	return replicas, int32(n), err
}

// statusPlan is what a count came to.
type statusPlan struct {
	status policyv1.PodDisruptionBudgetStatus

	// recheck is how long it is until the first noted eviction counts as
	// failed; 0 when none is noted.
	recheck time.Duration

	// notDeleted are pods whose eviction was allowed long ago.
	notDeleted []*corev1.Pod
}

// planStatus counts the pods that are healthy and no eviction is under way of.
func planStatus(budget *policyv1.PodDisruptionBudget, pods []*corev1.Pod, expected, desired int32, now time.Time) statusPlan {
	var plan statusPlan
	next := budget.DeepCopy()
	next.Status.DisruptedPods = map[string]metav1.Time{}
	var healthy int32
	for _, pod := range pods {
		if pod.DeletionTimestamp != nil {
			continue
		}
		if since, noted := budget.Status.DisruptedPods[pod.Name]; noted {
			if left := since.Add(deletionTimeout).Sub(now); left > 0 {
				next.Status.DisruptedPods[pod.Name] = since
				if plan.recheck == 0 || left < plan.recheck {
					plan.recheck = left
				}
				continue
			}
			plan.notDeleted = append(plan.notDeleted, pod)
		}
		if podctl.IsReady(pod) {
			healthy++
		}
	}
	next.Status.ExpectedPods, next.Status.DesiredHealthy, next.Status.CurrentHealthy = expected, desired, healthy
	next.Status.DisruptionsAllowed = 0
	if expected > 0 {
		next.Status.DisruptionsAllowed = max(0, healthy-desired)
	}
	next.Status.ObservedGeneration = budget.Generation
	budgets.UpdateDisruptionAllowedCondition(next)
	plan.status = next.Status
	return plan
}

// planFailure is the status of a budget that cannot be counted: it allows
// nothing.
func planFailure(budget *policyv1.PodDisruptionBudget, err error) policyv1.PodDisruptionBudgetStatus {
	status := *budget.Status.DeepCopy()
	status.DisruptionsAllowed = 0
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
		Reason: policyv1.SyncFailedReason, Message: err.Error(), ObservedGeneration: status.ObservedGeneration,
	})
	return status
}

// sameStatus compares but for the difference between no evictions and none.
func sameStatus(a, b policyv1.PodDisruptionBudgetStatus) bool {
	same := maps.EqualFunc(a.DisruptedPods, b.DisruptedPods, func(x, y metav1.Time) bool { return x.Equal(&y) })
	a.DisruptedPods, b.DisruptedPods = nil, nil
	return same && apiequality.Semantic.DeepEqual(a, b)
}
