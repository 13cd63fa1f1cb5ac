package statefulset

import (
	"context"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

// ensureClaims makes sure that a pod that is about to be created finds its
// claims. It reports false when one of them is about to go with an earlier pod;
// its deletion starts another turn.
func (r *Reconciler) ensureClaims(ctx context.Context, s *scope, pod *corev1.Pod) (bool, error) {
	ordinal, _ := ordinalOf(s.set, pod)
	for _, claim := range newClaims(s.set, ordinal) {
		existing := &corev1.PersistentVolumeClaim{}
		err := r.Client.Get(ctx, client.ObjectKeyFromObject(claim), existing)
		switch {
		case err == nil && isStale(existing, pod.Name):
			klog.FromContext(ctx).V(1).Info("Pod waits until an old claim is deleted", "Pod", klog.KObj(pod), "PersistentVolumeClaim", klog.KObj(claim))
			return false, nil
		case err == nil:
			continue
		case !apierrors.IsNotFound(err):
			return false, fmt.Errorf("read claim %s: %w", klog.KObj(claim), err)
		}
		claim.OwnerReferences = planOwners(s.set, pod, false, claim.OwnerReferences)
		err = r.Client.Create(ctx, claim)
		switch {
		case apierrors.IsAlreadyExists(err): // the cache does not have it yet
		case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
			return false, nil
		case err != nil:
			r.Events.Eventf(s.set, claim, corev1.EventTypeWarning, "FailedCreate", "Create",
				"create Claim %s for Pod %s in StatefulSet %s failed error: %s", claim.Name, pod.Name, s.set.Name, err)
			return false, fmt.Errorf("create claim %s: %w", klog.KObj(claim), err)
		default:
			r.Events.Eventf(s.set, claim, corev1.EventTypeNormal, "SuccessfulCreate", "Create",
				"create Claim %s Pod %s in StatefulSet %s success", claim.Name, pod.Name, s.set.Name)
		}
	}
	return true, nil
}

// ownClaims brings the owners of all claims in line with the retention policy,
// before a condemned pod goes.
func (r *Reconciler) ownClaims(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.view == nil || s.set.DeletionTimestamp != nil || len(s.set.Spec.VolumeClaimTemplates) == 0 {
		return ctrl.Result{}, nil
	}
	own := func(pods []*corev1.Pod, condemned bool) error {
		for _, pod := range pods {
			if pod == nil {
				continue
			}
			if err := r.ownClaimsOf(ctx, s, pod, condemned); err != nil {
				return err
			}
		}
		return nil
	}
	if err := own(s.view.slots, false); err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, own(s.view.condemned, true)
}

func (r *Reconciler) ownClaimsOf(ctx context.Context, s *scope, pod *corev1.Pod, condemned bool) error {
	ordinal, _ := ordinalOf(s.set, pod)
	for _, wanted := range newClaims(s.set, ordinal) {
		claim := &corev1.PersistentVolumeClaim{}
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(wanted), claim); err != nil {
			if apierrors.IsNotFound(err) {
				continue
			}
			return fmt.Errorf("read claim %s: %w", klog.KObj(wanted), err)
		}
		owners := planOwners(s.set, pod, condemned, claim.OwnerReferences)
		if claim.DeletionTimestamp != nil || apiequality.Semantic.DeepEqual(owners, claim.OwnerReferences) {
			continue
		}
		claim.OwnerReferences = owners
		if err := r.Client.Update(ctx, claim); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("update owners of claim %s: %w", klog.KObj(claim), err)
		}
	}
	return nil
}

// claimGone starts a turn for a set that may wait for a claim to go.
func (r *Reconciler) claimGone() handler.EventHandler {
	return handler.Funcs{DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
		var list appsv1.StatefulSetList
		if err := r.Client.List(ctx, &list, client.InNamespace(e.Object.GetNamespace()), client.UnsafeDisableDeepCopy); err != nil {
			klog.FromContext(ctx).Error(err, "Cannot look for the StatefulSet of a claim", "PersistentVolumeClaim", klog.KObj(e.Object))
			return
		}
		for i := range list.Items {
			set := &list.Items[i]
			for k := range set.Spec.VolumeClaimTemplates {
				pod := &corev1.Pod{}
				pod.Name = strings.TrimPrefix(e.Object.GetName(), set.Spec.VolumeClaimTemplates[k].Name+"-")
				if _, ok := ordinalOf(set, pod); ok {
					q.Add(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(set)})
				}
			}
		}
	}}
}
