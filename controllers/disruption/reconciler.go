package disruption

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets/status,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=replicationcontrollers,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments;replicasets;statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=*,resources=*/scale,verbs=get
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler keeps the status of each PodDisruptionBudget.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder
}

// SetupWithManager adds both controllers of the package to mgr: budgets that
// change and pods that change count a budget anew; pods with the condition
// DisruptionTarget are looked at when it has become stale.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	if err := turn.NewController(mgr).
		Named("disruption-controller").
		For(&policyv1.PodDisruptionBudget{}).
		Watches(&corev1.Pod{}, handler.Funcs{
			CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) { r.enqueue(ctx, q, e.Object) },
			UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { r.enqueue(ctx, q, e.ObjectOld, e.ObjectNew) },
			DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { r.enqueue(ctx, q, e.Object) },
		}).
		Complete(r); err != nil {
		return err
	}
	return (&stale{client: r.Client, clock: r.Clock}).setupWithManager(mgr)
}

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// enqueue starts a turn for the budgets that select the pod as it is, or as it
// was: one that loses a label leaves a budget.
func (r *Reconciler) enqueue(ctx context.Context, q queue, states ...client.Object) {
	var list policyv1.PodDisruptionBudgetList
	if err := r.Client.List(ctx, &list, client.InNamespace(states[0].GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot look for a pod's disruption budgets", "Pod", klog.KObj(states[0]))
		return
	}
	for _, state := range states {
		var found []string
		for i := range list.Items {
			budget := &list.Items[i]
			if selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector); err == nil && selector.Matches(labels.Set(state.GetLabels())) {
				found = append(found, budget.Name)
				q.Add(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(budget)})
			}
		}
		if len(found) > 1 {
			r.Events.Eventf(state, nil, corev1.EventTypeWarning, "MultiplePodDisruptionBudgets", "Count",
				"Pod %q/%q matches multiple PodDisruptionBudgets.  Chose %q arbitrarily.", state.GetNamespace(), state.GetName(), found[0])
		}
	}
}

// retryFailure is when a budget that could not be counted is counted again:
// what pods belong to may be of any kind and cannot be watched, and the cache
// may have learned of pods before it learned of their owner.
const retryFailure = 10 * time.Second

// Reconcile runs one turn for one budget.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	budget := &policyv1.PodDisruptionBudget{}
	if err := r.Client.Get(ctx, req.NamespacedName, budget); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	status, wait, err := r.count(ctx, budget)
	if err != nil {
		status, wait = planFailure(budget, err), retryFailure
	}
	if err := r.writeStatus(ctx, budget, status); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{RequeueAfter: wait}, nil
}

// count reads the budget's pods and says what its status should be, and when
// that has to be looked at again.
func (r *Reconciler) count(ctx context.Context, budget *policyv1.PodDisruptionBudget) (policyv1.PodDisruptionBudgetStatus, time.Duration, error) {
	pods, err := r.listPods(ctx, budget)
	if err != nil {
		r.warn(budget, "NoPods", "Failed to get pods: %v", err)
		return policyv1.PodDisruptionBudgetStatus{}, 0, err
	}
	if len(pods) == 0 {
		r.Events.Eventf(budget, nil, corev1.EventTypeNormal, "NoPods", "Count", "No matching pods found")
	}
	var scale scale
	if needsScale(budget) {
		if scale, err = r.scaleOf(ctx, pods); err != nil {
			r.warn(budget, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
			return policyv1.PodDisruptionBudgetStatus{}, 0, err
		}
	}
	expected, desired, err := planExpected(budget, len(pods), scale.replicas)
	if err != nil {
		r.warn(budget, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: %v", err)
		return policyv1.PodDisruptionBudgetStatus{}, 0, err
	}
	if scale.unmanaged > 0 {
		r.warn(budget, "UnmanagedPods", "Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", budget.Spec.Selector)
	}
	plan := planStatus(budget, pods, expected, desired, r.Clock.Now())
	for _, pod := range plan.notDeleted {
		r.Events.Eventf(pod, nil, corev1.EventTypeWarning, "NotDeleted", "Count", "Pod was expected by PDB %s/%s to be deleted but it wasn't", budget.Namespace, budget.Name)
	}
	return plan.status, plan.recheck, nil
}

func (r *Reconciler) warn(budget *policyv1.PodDisruptionBudget, reason, format string, args ...any) {
	r.Events.Eventf(budget, nil, corev1.EventTypeWarning, reason, "Count", format, args...)
}

// listPods lists what the budget selects. The pods are the cache's own.
func (r *Reconciler) listPods(ctx context.Context, budget *policyv1.PodDisruptionBudget) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(budget.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("read selector: %w", err)
	}
	var list corev1.PodList
	if err := r.Client.List(ctx, &list, client.InNamespace(budget.Namespace), client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	return podctl.Items(&list), nil
}

// writeStatus writes the status if it differs from the server's.
func (r *Reconciler) writeStatus(ctx context.Context, budget *policyv1.PodDisruptionBudget, status policyv1.PodDisruptionBudgetStatus) error {
	if sameStatus(budget.Status, status) {
		return nil
	}
	budget.Status = status
	// A conflict is an eviction, whose event starts a turn that sees it.
	if err := r.Client.Status().Update(ctx, budget); err != nil && !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
		return fmt.Errorf("update status of disruption budget %s: %w", klog.KObj(budget), err)
	}
	return nil
}
