package disruption

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
)

// staleTimeout is how long after the condition DisruptionTarget a pod must be
// on its way out (upstream's number).
const staleTimeout = 2 * time.Minute

// stale takes the condition DisruptionTarget back from pods that stay.
type stale struct {
	client client.Client
	clock  clock.PassiveClock
}

func (r *stale) setupWithManager(mgr ctrl.Manager) error {
	marked := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return false
		}
		_, is := staleIn(pod, time.Time{})
		return is
	})
	return turn.NewController(mgr).
		Named("disruption-controller-stale-pods").
		For(&corev1.Pod{}, builder.WithPredicates(marked)).
		Complete(r)
}

// Reconcile looks at one pod.
func (r *stale) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pod := &corev1.Pod{}
	if err := r.client.Get(ctx, req.NamespacedName, pod); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	wait, marked := staleIn(pod, r.clock.Now())
	if !marked || wait > 0 {
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	before := pod.DeepCopy()
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.DisruptionTarget {
			*c = corev1.PodCondition{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse, ObservedGeneration: pod.Generation,
				LastTransitionTime: metav1.NewTime(r.clock.Now()),
			}
		}
	}
	err := r.client.Status().Patch(ctx, pod, client.StrategicMergeFrom(before, client.MergeFromWithOptimisticLock{}))
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return ctrl.Result{}, fmt.Errorf("take back the disruption of pod %s: %w", klog.KObj(pod), err)
	}
	return ctrl.Result{}, nil
}

// staleIn is how long it is until the condition DisruptionTarget of a pod is
// stale; not ok when it never will be. A node agent that ends a pod may take
// any time for it.
func staleIn(pod *corev1.Pod, now time.Time) (wait time.Duration, ok bool) {
	c := podctl.Condition(pod, corev1.DisruptionTarget)
	if c.Status != corev1.ConditionTrue || pod.DeletionTimestamp != nil || podctl.HasEnded(pod) || c.Reason == corev1.PodReasonTerminationByKubelet {
		return 0, false
	}
	return max(0, c.LastTransitionTime.Add(staleTimeout).Sub(now)), true
}
