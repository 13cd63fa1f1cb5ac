package deployment

import (
	"context"
	"fmt"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ensureNew makes sure that there is a set with the Deployment's template.
func (r *Reconciler) ensureNew(ctx context.Context, s *scope) error {
	if s.newest != nil {
		return r.keepNew(ctx, s)
	}
	set, err := newSet(s.d, nextRevision(s.old), planNewSize(s.d, nil, s.old))
	if err != nil {
		return err
	}
	err = r.Client.Create(ctx, set)
	switch {
	case err == nil:
		r.writes.Wrote(s.key, set)
	case apierrors.IsAlreadyExists(err):
		return r.takeExisting(ctx, s, set)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return fmt.Errorf("create replica set %s: %w", set.Name, err)
	default:
		message := fmt.Sprintf("Failed to create new replica set %q: %v", set.Name, err)
		r.setProgressing(s, corev1.ConditionFalse, "ReplicaSetCreateError", message)
		r.Events.Eventf(s.d, nil, corev1.EventTypeWarning, "ReplicaSetCreateError", "Create", "%s", message)
		s.rollingOut = false // so that the status says this and not what progress there was
		return fmt.Errorf("create replica set %s: %w", set.Name, err)
	}
	s.newest = set
	if sizeOf(set) > 0 {
		r.recordScaled(s, set, 0)
	}
	r.setProgressing(s, corev1.ConditionTrue, reasonNew, fmt.Sprintf("Created new replica set %q", set.Name))
	return r.writeRevision(ctx, s)
}

// takeExisting deals with a name that is taken: by the very set that was to be
// created, or else by another template with the same hash, or another owner.
// Then the next turn tries another hash.
func (r *Reconciler) takeExisting(ctx context.Context, s *scope, wanted *appsv1.ReplicaSet) error {
	existing := &appsv1.ReplicaSet{}
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(wanted), existing); err != nil {
		return fmt.Errorf("read replica set %s: %w", wanted.Name, err)
	}
	if metav1.IsControlledBy(existing, s.d) && sameTemplate(&existing.Spec.Template, &s.d.Spec.Template) {
		r.writes.Wrote(s.key, existing)
		s.newest = existing
		return r.keepNew(ctx, s)
	}
	s.collided = true
	s.d.Status.CollisionCount = ptr.To(ptr.Deref(s.d.Status.CollisionCount, 0) + 1)
	klog.FromContext(ctx).Info("Found a hash collision, will try another hash",
		"ReplicaSet", klog.KObj(existing), "collisionCount", *s.d.Status.CollisionCount)
	return nil
}

// keepNew keeps the newest set's annotations and minReadySeconds in step with
// the Deployment's, if there is such a set.
func (r *Reconciler) keepNew(ctx context.Context, s *scope) error {
	if s.newest == nil {
		return nil
	}
	changed := s.newest.DeepCopy()
	changed.Annotations = planAnnotations(s.d, changed.Annotations, nextRevision(s.old))
	changed.Spec.MinReadySeconds = s.d.Spec.MinReadySeconds
	if err := r.patchSet(ctx, s, s.newest, changed); err != nil {
		return err
	}
	if hasDeadline(s.d) && findCondition(s.d.Status.Conditions, appsv1.DeploymentProgressing) == nil {
		r.setProgressing(s, corev1.ConditionTrue, reasonFound, fmt.Sprintf("Found new replica set %q", s.newest.Name))
	}
	return r.writeRevision(ctx, s)
}

// writeRevision gives the Deployment the revision of its newest set.
func (r *Reconciler) writeRevision(ctx context.Context, s *scope) error {
	revision := s.newest.Annotations[revisionAnnotation]
	if s.d.Annotations[revisionAnnotation] == revision {
		return nil
	}
	changed := s.d.DeepCopy()
	changed.Annotations = maps.Clone(changed.Annotations)
	if changed.Annotations == nil {
		changed.Annotations = map[string]string{}
	}
	changed.Annotations[revisionAnnotation] = revision
	if err := r.Client.Patch(ctx, changed, client.MergeFrom(s.d)); err != nil {
		return fmt.Errorf("annotate deployment %s with its revision: %w", s.key, err)
	}
	r.own.Wrote(s.key, changed)
	// The turn goes on with the spec that it has read; only what a status
	// write has to name is taken over.
	s.d.ResourceVersion, s.d.Annotations = changed.ResourceVersion, changed.Annotations
	return nil
}

func (r *Reconciler) setProgressing(s *scope, status corev1.ConditionStatus, reason, message string) {
	if hasDeadline(s.d) {
		s.d.Status.Conditions = setCondition(s.d.Status.Conditions, newCondition(appsv1.DeploymentProgressing, status, reason, message, r.Clock.Now()))
	}
}
