package deployment

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// Reasons of the Progressing condition, which kubectl rollout status reads.
const (
	reasonNew       = "NewReplicaSetCreated"
	reasonFound     = "FoundNewReplicaSet"
	reasonUpdated   = "ReplicaSetUpdated"
	reasonAvailable = "NewReplicaSetAvailable"
	reasonTimedOut  = "ProgressDeadlineExceeded"
	reasonPaused    = "DeploymentPaused"
	reasonResumed   = "DeploymentResumed"
)

// writeStatus reports what the turn saw and did, if that differs from what is
// reported, and asks for another turn when the progress deadline may pass.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) (ctrl.Result, error) {
	now := r.Clock.Now()
	switch {
	case s.listed:
		s.d.Status = planStatus(s, now)
	case s.selectsAll:
		s.d.Status.ObservedGeneration = s.d.Generation
	default:
		return ctrl.Result{}, nil // the turn failed before anything was known
	}
	result := ctrl.Result{RequeueAfter: untilDeadline(s, now)}
	if s.collided {
		result.RequeueAfter = turn.Conflict
	}
	if apiequality.Semantic.DeepEqual(s.before, s.d.Status) {
		return result, nil
	}
	err := r.Client.Status().Update(ctx, s.d)
	if err == nil {
		r.own.Wrote(s.key, s.d)
	}
	return turn.Written(ctx, result, err)
}

// planStatus says what the Deployment's status should be.
func planStatus(s *scope, now time.Time) appsv1.DeploymentStatus {
	sets := s.sets()
	status := appsv1.DeploymentStatus{
		ObservedGeneration: s.d.Generation,
		CollisionCount:     s.d.Status.CollisionCount,
		Conditions:         slices.Clone(s.d.Status.Conditions),
	}
	if s.newest != nil {
		status.UpdatedReplicas = s.newest.Status.Replicas
	}
	for _, set := range sets {
		status.Replicas += set.Status.Replicas
		status.ReadyReplicas += set.Status.ReadyReplicas
		status.AvailableReplicas += set.Status.AvailableReplicas
	}
	status.TerminatingReplicas = terminating(sets)
	status.UnavailableReplicas = max(0, total(sets)-status.AvailableReplicas)

	status.Conditions = setCondition(status.Conditions, planAvailable(s.d, status.AvailableReplicas, now))
	if s.rollingOut {
		status.Conditions = planProgress(s, status, now)
		status.Conditions = planFailure(status.Conditions, s.newest, sets)
	}
	return status
}

// terminating adds up the sets' counts; there is none where a set gives none,
// which one of an older controller does not.
func terminating(sets []*appsv1.ReplicaSet) *int32 {
	var sum int32
	for _, set := range sets {
		if set.Status.TerminatingReplicas == nil {
			return nil
		}
		sum += *set.Status.TerminatingReplicas
	}
	return &sum
}

func planAvailable(d *appsv1.Deployment, available int32, now time.Time) appsv1.DeploymentCondition {
	if available >= replicas(d)-limitsOf(d).unavailable {
		return newCondition(appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", "Deployment has minimum availability.", now)
	}
	return newCondition(appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", now)
}

// planProgress gives the Progressing condition: complete, moving, or stuck for
// longer than the deadline. Otherwise it stays as it is, and its update time is
// when there last was progress.
func planProgress(s *scope, status appsv1.DeploymentStatus, now time.Time) []appsv1.DeploymentCondition {
	if !hasDeadline(s.d) {
		return dropCondition(status.Conditions, appsv1.DeploymentProgressing)
	}
	current := findCondition(status.Conditions, appsv1.DeploymentProgressing)
	if status.Replicas == status.UpdatedReplicas && current != nil && current.Reason == reasonAvailable {
		return status.Conditions // pods that come and go later are no rollout
	}
	what := fmt.Sprintf("Deployment %q", s.d.Name)
	if s.newest != nil {
		what = fmt.Sprintf("ReplicaSet %q", s.newest.Name)
	}
	switch {
	case isComplete(s.d, &status):
		return setCondition(status.Conditions, newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue,
			reasonAvailable, what+" has successfully progressed.", now))
	case hasProgressed(&s.before, &status):
		condition := newCondition(appsv1.DeploymentProgressing, corev1.ConditionTrue, reasonUpdated, what+" is progressing.", now)
		if current != nil && current.Status == corev1.ConditionTrue {
			condition.LastTransitionTime = current.LastTransitionTime
		}
		return append(dropCondition(status.Conditions, appsv1.DeploymentProgressing), condition)
	case isTimedOut(s.d, current, now):
		return setCondition(status.Conditions, newCondition(appsv1.DeploymentProgressing, corev1.ConditionFalse,
			reasonTimedOut, what+" has timed out progressing.", now))
	}
	return status.Conditions
}

// planPaused notes in the Progressing condition that the rollout was paused or
// resumed, so that its deadline starts anew.
func planPaused(d *appsv1.Deployment, now time.Time) []appsv1.DeploymentCondition {
	conditions := d.Status.Conditions
	current := findCondition(conditions, appsv1.DeploymentProgressing)
	if !hasDeadline(d) || (current != nil && current.Reason == reasonTimedOut) {
		return conditions
	}
	isNoted := current != nil && current.Reason == reasonPaused
	switch {
	case d.Spec.Paused && !isNoted:
		return setCondition(conditions, newCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonPaused, "Deployment is paused", now))
	case !d.Spec.Paused && isNoted:
		return setCondition(conditions, newCondition(appsv1.DeploymentProgressing, corev1.ConditionUnknown, reasonResumed, "Deployment is resumed", now))
	}
	return conditions
}

// planFailure takes over the newest set's ReplicaFailure condition, or else
// that of any other set.
func planFailure(conditions []appsv1.DeploymentCondition, newest *appsv1.ReplicaSet, sets []*appsv1.ReplicaSet) []appsv1.DeploymentCondition {
	candidates := sets
	if newest != nil {
		candidates = append([]*appsv1.ReplicaSet{newest}, sets...)
	}
	for _, set := range candidates {
		for _, c := range set.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				return setCondition(conditions, appsv1.DeploymentCondition{
					Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message,
					LastTransitionTime: c.LastTransitionTime, LastUpdateTime: c.LastTransitionTime,
				})
			}
		}
	}
	return dropCondition(conditions, appsv1.DeploymentReplicaFailure)
}

// isComplete tells whether all pods are of the newest template and available,
// and none of the old ones is left.
func isComplete(d *appsv1.Deployment, status *appsv1.DeploymentStatus) bool {
	want := replicas(d)
	return status.UpdatedReplicas == want && status.Replicas == want &&
		status.AvailableReplicas == want && status.ObservedGeneration >= d.Generation
}

// hasProgressed tells whether a status is nearer to the end than the one
// before: more new pods, fewer old ones, more ready or available ones.
func hasProgressed(before, after *appsv1.DeploymentStatus) bool {
	return after.UpdatedReplicas > before.UpdatedReplicas ||
		after.Replicas-after.UpdatedReplicas < before.Replicas-before.UpdatedReplicas ||
		after.ReadyReplicas > before.ReadyReplicas ||
		after.AvailableReplicas > before.AvailableReplicas
}

// isTimedOut tells whether there was no progress for longer than the deadline.
func isTimedOut(d *appsv1.Deployment, progressing *appsv1.DeploymentCondition, now time.Time) bool {
	switch {
	case progressing == nil || progressing.Reason == reasonAvailable:
		return false
	case progressing.Reason == reasonTimedOut:
		return true
	}
	return progressing.LastUpdateTime.Add(deadline(d)).Before(now)
}

// untilDeadline is how long it is until the rollout counts as stuck; 0 when
// nothing waits for that.
func untilDeadline(s *scope, now time.Time) time.Duration {
	progressing := findCondition(s.d.Status.Conditions, appsv1.DeploymentProgressing)
	if !s.rollingOut || !hasDeadline(s.d) || progressing == nil || isComplete(s.d, &s.d.Status) ||
		progressing.Reason == reasonTimedOut || progressing.Reason == reasonAvailable {
		return 0
	}
	// Times in the API have no fractions of a second: the second makes sure
	// that the deadline has passed when the turn comes.
	return max(progressing.LastUpdateTime.Add(deadline(s.d)).Sub(now)+time.Second, time.Second)
}

// hasDeadline: the largest number stands for none.
func hasDeadline(d *appsv1.Deployment) bool {
	return d.Spec.ProgressDeadlineSeconds != nil && *d.Spec.ProgressDeadlineSeconds != math.MaxInt32
}

func deadline(d *appsv1.Deployment) time.Duration {
	return time.Duration(*d.Spec.ProgressDeadlineSeconds) * time.Second
}

func newCondition(kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason, message string, now time.Time) appsv1.DeploymentCondition {
	return appsv1.DeploymentCondition{
		Type: kind, Status: status, Reason: reason, Message: message,
		LastUpdateTime: metav1.NewTime(now), LastTransitionTime: metav1.NewTime(now),
	}
}

func findCondition(conditions []appsv1.DeploymentCondition, kind appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range conditions {
		if conditions[i].Type == kind {
			return &conditions[i]
		}
	}
	return nil
}

// setCondition puts a condition in place of the one of its type. One with the
// same status and reason stays as it is; one with the same status keeps the
// time of its transition.
func setCondition(conditions []appsv1.DeploymentCondition, condition appsv1.DeploymentCondition) []appsv1.DeploymentCondition {
	current := findCondition(conditions, condition.Type)
	if current != nil && current.Status == condition.Status {
		if current.Reason == condition.Reason {
			return conditions
		}
		condition.LastTransitionTime = current.LastTransitionTime
	}
	return append(dropCondition(conditions, condition.Type), condition)
}

func dropCondition(conditions []appsv1.DeploymentCondition, kind appsv1.DeploymentConditionType) []appsv1.DeploymentCondition {
	return slices.DeleteFunc(slices.Clone(conditions), func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
}
