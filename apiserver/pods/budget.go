package pods

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	budgets "k8s.io/component-helpers/apps/poddisruptionbudget"
)

// maxUnconfirmed is how many evictions a budget may have allowed that its
// controller has not seen yet (upstream's number).
const maxUnconfirmed = 2000

// charge takes an eviction of pod from its disruption budget, or says why that
// forbids it. It returns the budget's name, if there is one; free says that
// nothing was taken because the pod is not of those that the budget counts.
func (e *eviction) charge(ctx context.Context, pod *corev1.Pod, dry bool) (free bool, name string, err error) {
	found, err := e.budgetsOf(ctx, pod)
	switch {
	case err != nil || len(found) == 0:
		return false, "", err
	case len(found) > 1:
		return false, "", &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInternalServerError,
			Message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
		}}
	}
	budget := &found[0]
	if unhealthyMayGo(budget, pod) {
		return true, budget.Name, nil
	}
	store := *e.Budgets
	store.UpdateStrategy = asGiven{e.Budgets.UpdateStrategy}
	o := &metav1.UpdateOptions{}
	if dry {
		o.DryRun = []string{metav1.DryRunAll}
	}
	// The decision is made on what is stored, and again when that changes.
	_, _, err = store.Update(ctx, budget.Name, chargeUpdate{pod.Name}, rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false, o)
	if apierrors.IsConflict(err) {
		err = apierrors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", budget.Name), 10)
	}
	return false, budget.Name, err
}

// budgetsOf lists the budgets that select pod.
func (e *eviction) budgetsOf(ctx context.Context, pod *corev1.Pod) ([]policyv1.PodDisruptionBudget, error) {
	obj, err := e.Budgets.List(request.WithNamespace(ctx, pod.Namespace), &internalversion.ListOptions{})
	if err != nil {
		return nil, err
	}
	list, ok := obj.(*policyv1.PodDisruptionBudgetList)
	if !ok {
		return nil, fmt.Errorf("list of disruption budgets is a %T", obj)
	}
	return slices.DeleteFunc(list.Items, func(b policyv1.PodDisruptionBudget) bool {
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		// A selector that was valid once and is not now selects nothing.
		return err != nil || !selector.Matches(labels.Set(pod.Labels))
	}), nil
}

// unhealthyMayGo says whether a pod that is not ready can be evicted without
// the budget's leave.
func unhealthyMayGo(budget *policyv1.PodDisruptionBudget, pod *corev1.Pod) bool {
	if slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}) {
		return false
	}
	if p := budget.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return budget.Status.CurrentHealthy >= budget.Status.DesiredHealthy && budget.Status.DesiredHealthy > 0
}

// chargeUpdate notes in a budget's status that a pod is evicted.
type chargeUpdate struct{ pod string }

func (chargeUpdate) Preconditions() *metav1.Preconditions { return nil }

func (u chargeUpdate) UpdatedObject(_ context.Context, old runtime.Object) (runtime.Object, error) {
	stored, ok := old.(*policyv1.PodDisruptionBudget)
	if !ok {
		return nil, fmt.Errorf("expect a disruption budget, got %T", old)
	}
	if err := mayDisrupt(stored); err != nil {
		return nil, err
	}
	budget := stored.DeepCopy()
	budget.Status.DisruptionsAllowed--
	if budget.Status.DisruptionsAllowed == 0 {
		budgets.UpdateDisruptionAllowedCondition(budget)
	}
	if budget.Status.DisruptedPods == nil {
		budget.Status.DisruptedPods = map[string]metav1.Time{}
	}
	budget.Status.DisruptedPods[u.pod] = metav1.Time{Time: time.Now()}
	return budget, nil
}

// mayDisrupt says why a budget allows no disruption now.
func mayDisrupt(budget *policyv1.PodDisruptionBudget) error {
	status := &budget.Status
	switch {
	case status.ObservedGeneration < budget.Generation:
		return stillProcessed(budget.Name)
	case status.DisruptionsAllowed < 0:
		return forbidden(budget.Name, "pdb disruptions allowed is negative")
	case len(status.DisruptedPods) > maxUnconfirmed:
		return forbidden(budget.Name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller")
	case status.DisruptionsAllowed == 0:
		return tooMany(0, whyNot(budget))
	}
	return nil
}

// whyNot explains a budget that is used up. Its numbers mean nothing while its
// controller cannot count.
func whyNot(budget *policyv1.PodDisruptionBudget) string {
	status := &budget.Status
	c := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	told := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	text := fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", budget.Name)
	switch {
	case told && c.Reason == policyv1.SyncFailedReason:
		return text + " because it failed sync: " + c.Message
	case status.CurrentHealthy <= status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", budget.Name, status.DesiredHealthy, status.CurrentHealthy)
	case told:
		return fmt.Sprintf("%s (%s): %s", text, c.Reason, c.Message)
	}
	return text
}

func forbidden(budget, why string) error {
	return apierrors.NewForbidden(schema.GroupResource{Group: policyv1.GroupName, Resource: "poddisruptionbudget"}, budget, fmt.Errorf("%s", why))
}

func stillProcessed(budget string) error {
	return tooMany(10, fmt.Sprintf("The disruption budget %s is still being processed by the server.", budget))
}

func tooMany(retryAfter int, cause string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfter)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: cause})
	return err
}
