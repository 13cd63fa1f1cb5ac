package volume

import (
	"context"
	"errors"
	"fmt"
	"os"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// source is a persistent volume that lies on this node.
type source struct {
	volume   string // name of the PersistentVolume
	path     string
	local    bool // a local volume rather than a hostPath
	pathType *corev1.HostPathType
	readOnly bool
}

// prepareClaim checks the persistent volume behind a claim. Its data stays where
// it is: nothing is mounted, so nothing can be torn down.
func (v *Volumes) prepareClaim(ctx context.Context, pod *corev1.Pod, volume *corev1.Volume) error {
	claim := volume.PersistentVolumeClaim
	s, err := v.claimed(ctx, pod, claim)
	if err != nil {
		return &FailedMount{
			Volume: volume.Name,
			Message: fmt.Sprintf("Unable to attach or mount volumes: unmounted volumes=[%s], unattached volumes=[], failed to process volumes=[%s]: error processing PVC %s/%s: %v",
				volume.Name, volume.Name, pod.Namespace, claim.ClaimName, err),
			Err: err,
		}
	}
	if !s.local {
		return setUpFailed(s.volume, checkHostPath(s.path, s.pathType))
	}
	if _, err := os.Stat(s.path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			err = fmt.Errorf("path %q does not exist", s.path)
		}
		return setUpFailed(s.volume, err)
	}
	group := fsGroup(pod)
	if group == nil || s.readOnly || v.cfg.Unprivileged {
		return nil
	}
	needed, err := needsGroup(s.path, *group, pod.Spec.SecurityContext.FSGroupChangePolicy)
	if err == nil && needed {
		err = setGroup(s.path, *group, false)
	}
	return setUpFailed(s.volume, err)
}

// claimed finds the persistent volume of a claim.
func (v *Volumes) claimed(ctx context.Context, pod *corev1.Pod, claim *corev1.PersistentVolumeClaimVolumeSource) (source, error) {
	if v.client == nil {
		return source{}, errors.New("failed to fetch PVC from API server: this node has no client")
	}
	pvc, err := v.client.CoreV1().PersistentVolumeClaims(pod.Namespace).Get(ctx, claim.ClaimName, metav1.GetOptions{})
	if err != nil {
		return source{}, fmt.Errorf("failed to fetch PVC from API server: %w", err)
	}
	if pvc.DeletionTimestamp != nil && len(pvc.Finalizers) == 0 {
		return source{}, errors.New("PVC is being deleted")
	}
	if pvc.Status.Phase != corev1.ClaimBound || pvc.Spec.VolumeName == "" {
		return source{}, errors.New("PVC is not bound")
	}
	pv, err := v.client.CoreV1().PersistentVolumes().Get(ctx, pvc.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return source{}, fmt.Errorf("failed to fetch PV %s from API server: %w", pvc.Spec.VolumeName, err)
	}
	if pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != pvc.UID {
		return source{}, fmt.Errorf("PV %s is not bound to this PVC", pv.Name)
	}
	if pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == corev1.PersistentVolumeBlock {
		return source{}, fmt.Errorf("PV %s has volumeMode Block, which this node does not support", pv.Name)
	}
	s := source{volume: pv.Name, readOnly: claim.ReadOnly}
	switch {
	case pv.Spec.HostPath != nil:
		s.path, s.pathType = pv.Spec.HostPath.Path, pv.Spec.HostPath.Type
	case pv.Spec.Local != nil:
		s.path, s.local = pv.Spec.Local.Path, true
	default:
		return source{}, errors.New("no volume plugin matched")
	}
	return s, nil
}
