package persistentvolume

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// volumes looks after volumes when their claims change, or go.
type volumes struct{ *Reconciler }

func (r *volumes) setupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("persistentvolume-binder-controller-volumes").
		For(&corev1.PersistentVolume{}).
		Watches(&corev1.PersistentVolumeClaim{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []ctrl.Request {
			var requests []ctrl.Request
			for _, v := range r.volumes.List() {
				if v.Spec.ClaimRef != nil && claimKey(v) == client.ObjectKeyFromObject(obj) {
					requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(v)})
				}
			}
			return requests
		})).
		Complete(r)
}

// Reconcile runs one turn for one volume.
func (r *volumes) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	cached, ok := r.volumes.Get(req.NamespacedName)
	if !ok {
		return ctrl.Result{}, nil
	}
	v := cached.DeepCopy()
	claim, err := r.claimOf(ctx, v)
	if err != nil {
		return ctrl.Result{}, err
	}
	switch planVolume(v, claim) {
	case leaveAlone:
	case available:
		err = r.writePhase(ctx, v, corev1.VolumeAvailable, "")
	case bound:
		err = r.writePhase(ctx, v, corev1.VolumeBound, "")
	case unbind:
		free := planUnbound(v)
		if err = r.Client.Update(ctx, free); err == nil {
			err = r.writePhase(ctx, free, corev1.VolumeAvailable, "")
		}
	case release:
		err = r.release(ctx, v)
	}
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return ctrl.Result{}, nil // an event of what changed starts the next turn
	}
	return ctrl.Result{}, err
}

// claimOf reads a volume's claim, nil when it does not exist. A claim that only
// the cache does not know is not taken for gone.
func (r *volumes) claimOf(ctx context.Context, v *corev1.PersistentVolume) (*corev1.PersistentVolumeClaim, error) {
	if v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID == "" {
		return nil, nil
	}
	claim, ok := r.claims.Get(claimKey(v))
	if ok && claim.UID == v.Spec.ClaimRef.UID {
		return claim, nil
	}
	if v.Status.Phase == corev1.VolumeReleased || v.Status.Phase == corev1.VolumeFailed {
		return nil, nil
	}
	claim = &corev1.PersistentVolumeClaim{}
	if err := r.live.Get(ctx, claimKey(v), claim); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("read claim of volume %s: %w", v.Name, err)
	}
	return claim, nil
}

// release lets a volume go as its policy says. One that a provisioner made is
// deleted by that, which watches for the phase.
func (r *volumes) release(ctx context.Context, v *corev1.PersistentVolume) error {
	if v.Status.Phase != corev1.VolumeReleased && v.Status.Phase != corev1.VolumeFailed {
		if err := r.writePhase(ctx, v, corev1.VolumeReleased, ""); err != nil {
			return err
		}
		klog.FromContext(ctx).Info("Released volume", "PersistentVolume", klog.KObj(v), "claim", claimKey(v))
	}
	switch v.Spec.PersistentVolumeReclaimPolicy {
	case corev1.PersistentVolumeReclaimDelete:
		if isProvisioned(v) || v.Spec.CSI != nil || v.DeletionTimestamp != nil {
			return nil
		}
		return r.fail(ctx, v, "VolumeFailedDelete", fmt.Sprintf("error getting deleter volume plugin for volume %q: no deletable volume plugin matched", v.Name))
	case corev1.PersistentVolumeReclaimRecycle:
		return r.fail(ctx, v, "VolumeFailedRecycle", "No recycler plugin found for the volume!")
	}
	return nil
}

func (r *volumes) fail(ctx context.Context, v *corev1.PersistentVolume, reason, message string) error {
	if v.Status.Phase == corev1.VolumeFailed {
		return nil
	}
	r.Events.Eventf(v, nil, corev1.EventTypeWarning, reason, "Reclaim", "%s", message)
	return r.writePhase(ctx, v, corev1.VolumeFailed, message)
}

// writePhase writes a volume's phase if it is another.
func (r *volumes) writePhase(ctx context.Context, v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) error {
	if v.Status.Phase == phase {
		return nil
	}
	v.Status.Phase, v.Status.Message = phase, message
	if err := r.Client.Status().Update(ctx, v); err != nil {
		return fmt.Errorf("update status of volume %s: %w", v.Name, err)
	}
	return nil
}
