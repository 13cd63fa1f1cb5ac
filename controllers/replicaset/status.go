package replicaset

import (
	"context"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// writeStatus reports what the turn saw, if that differs from what is reported,
// and asks for another turn when the next pod becomes available.
func (e *Engine[T]) writeStatus(ctx context.Context, s *scope[T]) (ctrl.Result, error) {
	status, wait := planStatus(s.set, s.active, s.terminating, s.diff, s.failure, e.Clock.Now())
	result := ctrl.Result{RequeueAfter: wait}
	before := s.set.Status
	e.Kind.SetStatus(s.object, status)
	if apiequality.Semantic.DeepEqual(before, e.Kind.View(s.object).Status) {
		return result, nil
	}
	err := e.Client.Status().Update(ctx, s.object)
	if err == nil {
		e.own.Wrote(client.ObjectKeyFromObject(s.object), s.object)
	}
	return turn.Written(ctx, result, err)
}

// planStatus says what a set's status should be, and how long it is until a
// pod that is ready now has been so for minReadySeconds (0: there is none).
func planStatus(set *appsv1.ReplicaSet, active []*corev1.Pod, terminating int32, diff int, failure error, now time.Time) (appsv1.ReplicaSetStatus, time.Duration) {
	status := appsv1.ReplicaSetStatus{
		Replicas:            int32(len(active)),
		TerminatingReplicas: &terminating,
		ObservedGeneration:  set.Generation,
		Conditions:          planConditions(set.Status.Conditions, diff, failure, now),
	}
	template := labels.Set(set.Spec.Template.Labels).AsSelectorPreValidated()
	minReady := time.Duration(set.Spec.MinReadySeconds) * time.Second
	var next time.Duration
	for _, pod := range active {
		if template.Matches(labels.Set(pod.Labels)) {
			status.FullyLabeledReplicas++
		}
		ready := readyCondition(pod)
		if ready.Status != corev1.ConditionTrue {
			continue
		}
		status.ReadyReplicas++
		if left := ready.LastTransitionTime.Add(minReady).Sub(now); minReady > 0 && left > 0 {
			if next == 0 || left < next {
				next = left
			}
			continue
		}
		status.AvailableReplicas++
	}
	return status, next
}

// planConditions says whether the last attempt to create or delete pods failed.
// diff tells which it was: negative for too few pods.
func planConditions(before []appsv1.ReplicaSetCondition, diff int, failure error, now time.Time) []appsv1.ReplicaSetCondition {
	isFailure := func(c appsv1.ReplicaSetCondition) bool { return c.Type == appsv1.ReplicaSetReplicaFailure }
	if failure == nil {
		return slices.DeleteFunc(slices.Clone(before), isFailure)
	}
	if slices.ContainsFunc(before, isFailure) {
		return before // the first failure stays until there is none
	}
	reason := "FailedCreate"
	if diff > 0 {
		reason = "FailedDelete"
	}
	return append(slices.Clone(before), appsv1.ReplicaSetCondition{
		Type:               appsv1.ReplicaSetReplicaFailure,
		Status:             corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(now),
		Reason:             reason,
		Message:            failure.Error(),
	})
}
