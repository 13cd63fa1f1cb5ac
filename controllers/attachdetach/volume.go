package attachdetach

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// volume is one that pods of a node use.
type volume struct {
	name   corev1.UniqueVolumeName
	object *corev1.PersistentVolume
	claim  client.ObjectKey
	pods   []*corev1.Pod // on the node
	users  []string      // pods on other nodes that it is attached to
}

// attachment is a VolumeAttachment with the name of its volume.
type attachment struct {
	volume corev1.UniqueVolumeName
	object *storagev1.VolumeAttachment
}

// prefix begins the names of a driver's volumes.
func prefix(driver string) string { return "kubernetes.io/csi/" + driver + "^" }

func uniqueName(csi *corev1.CSIPersistentVolumeSource) corev1.UniqueVolumeName {
	return corev1.UniqueVolumeName(prefix(csi.Driver) + csi.VolumeHandle)
}

// attachmentName is what kubelets look for as well.
func attachmentName(csi *corev1.CSIPersistentVolumeSource, node string) string {
	return fmt.Sprintf("csi-%x", sha256.Sum256([]byte(csi.VolumeHandle+csi.Driver+node)))
}

// attached returns the volume of an attachment that is ours, nil when it is
// gone; others may have made attachments of their own.
func (r *Reconciler) attached(a *storagev1.VolumeAttachment) (pv *corev1.PersistentVolume, ours bool) {
	if a.Spec.Source.PersistentVolumeName == nil {
		return nil, false
	}
	pv, found := r.volumes.Get(types.NamespacedName{Name: *a.Spec.Source.PersistentVolumeName})
	if !found || pv.Spec.CSI == nil {
		return nil, strings.HasPrefix(a.Name, "csi-") && len(a.Name) == len("csi-")+2*sha256.Size
	}
	return pv, pv.Spec.CSI.Driver == a.Spec.Attacher && a.Name == attachmentName(pv.Spec.CSI, a.Spec.NodeName)
}

// nameOf is the name of an attachment's volume, or, when that is gone, what
// names of its driver's volumes begin with.
func nameOf(a *storagev1.VolumeAttachment, pv *corev1.PersistentVolume) corev1.UniqueVolumeName {
	if pv == nil {
		return corev1.UniqueVolumeName(prefix(a.Spec.Attacher))
	}
	return uniqueName(pv.Spec.CSI)
}

// volumesOf are the volumes of a pod that have to be attached. A claim that is
// not bound yet, or is another's, has none.
func (r *Reconciler) volumesOf(pod *corev1.Pod) []*volume {
	var out []*volume
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		key := client.ObjectKey{Namespace: pod.Namespace}
		switch {
		case v.PersistentVolumeClaim != nil:
			key.Name = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			key.Name = ephemeral.VolumeClaimName(pod, v)
		default:
			continue
		}
		claim, ok := r.claims.Get(key)
		if !ok || v.Ephemeral != nil && ephemeral.VolumeIsForPod(pod, claim) != nil {
			continue
		}
		pv, ok := r.volumes.Get(types.NamespacedName{Name: claim.Spec.VolumeName})
		if ok && isBound(claim, pv) && pv.Spec.CSI != nil && r.needsAttach(pv.Spec.CSI.Driver) &&
			!slices.ContainsFunc(out, func(have *volume) bool { return have.name == uniqueName(pv.Spec.CSI) }) {
			out = append(out, &volume{name: uniqueName(pv.Spec.CSI), object: pv, claim: key})
		}
	}
	return out
}

func isBound(claim *corev1.PersistentVolumeClaim, pv *corev1.PersistentVolume) bool {
	return claim.Status.Phase == corev1.ClaimBound && pv.Spec.ClaimRef != nil && pv.Spec.ClaimRef.UID == claim.UID
}

// needsAttach is true of drivers that say nothing.
func (r *Reconciler) needsAttach(name string) bool {
	driver, ok := r.drivers.Get(types.NamespacedName{Name: name})
	return !ok || driver.Spec.AttachRequired == nil || *driver.Spec.AttachRequired
}

// holdsVolumes tells whether a pod still needs its volumes: one that has ended,
// or is being deleted and has no container left that may run, does only where
// the node keeps them.
func holdsVolumes(pod *corev1.Pod, keepTerminated bool) bool {
	ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded ||
		pod.DeletionTimestamp != nil && !slices.ContainsFunc(pod.Status.ContainerStatuses, mayRun)
	return !ended || keepTerminated
}

func mayRun(c corev1.ContainerStatus) bool {
	return c.State.Terminated == nil && c.State.Waiting == nil
}

// isShareable tells whether several nodes may have a volume at a time. One that
// says nothing is left to its driver.
func isShareable(pv *corev1.PersistentVolume) bool {
	return len(pv.Spec.AccessModes) == 0 || slices.ContainsFunc(pv.Spec.AccessModes, func(m corev1.PersistentVolumeAccessMode) bool {
		return m == corev1.ReadWriteMany || m == corev1.ReadOnlyMany
	})
}
