package persistentvolume

import (
	"errors"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/storage/volume"
)

// findVolume chooses a volume for a claim: one that is meant for it, or else of
// those with the fewest access modes the smallest. A claim that waits for a pod
// gets only one that is meant for it.
func findVolume(claim *corev1.PersistentVolumeClaim, volumes []*corev1.PersistentVolume, waits bool) (*corev1.PersistentVolume, error) {
	byModes := map[int][]*corev1.PersistentVolume{}
	var meant []*corev1.PersistentVolume
	for _, v := range volumes {
		if volume.IsVolumeBoundToClaim(v, claim) {
			meant = append(meant, v)
			continue
		}
		byModes[len(v.Spec.AccessModes)] = append(byModes[len(v.Spec.AccessModes)], v)
	}
	groups := [][]*corev1.PersistentVolume{meant}
	for _, modes := range slices.Sorted(maps.Keys(byModes)) {
		groups = append(groups, byModes[modes])
	}
	for _, group := range groups {
		found, err := volume.FindMatchingVolume(claim, group, nil, nil, waits, true)
		if found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// mismatch says why a volume cannot serve a claim that names it.
func mismatch(claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	wanted, has := claim.Spec.Resources.Requests[corev1.ResourceStorage], v.Spec.Capacity[corev1.ResourceStorage]
	switch {
	case has.Cmp(wanted) < 0:
		return errors.New("requested PV is too small")
	case volume.GetPersistentVolumeClaimClass(claim) != volume.GetPersistentVolumeClass(v):
		return errors.New("storageClassName does not match")
	case volume.CheckVolumeModeMismatches(&claim.Spec, &v.Spec):
		return errors.New("incompatible volumeMode")
	case !volume.CheckAccessModes(claim, v):
		return errors.New("incompatible accessMode")
	}
	return nil
}

// planClaimStatus is a claim's status in a phase. Bound to a volume it shows
// what that can; capacity is not lowered, as a volume may be growing.
func planClaimStatus(before corev1.PersistentVolumeClaimStatus, phase corev1.PersistentVolumeClaimPhase, v *corev1.PersistentVolume) corev1.PersistentVolumeClaimStatus {
	status := *before.DeepCopy()
	status.Phase = phase
	if v == nil {
		status.AccessModes, status.Capacity, status.CurrentVolumeAttributesClassName = nil, nil, nil
		return status
	}
	status.AccessModes = slices.Clone(v.Spec.AccessModes)
	if has, known := v.Spec.Capacity[corev1.ResourceStorage]; known && (before.Phase != corev1.ClaimBound || status.Capacity == nil) {
		status.Capacity = corev1.ResourceList{corev1.ResourceStorage: has}
	}
	if before.Phase != corev1.ClaimBound {
		status.CurrentVolumeAttributesClassName = v.Spec.VolumeAttributesClassName
	}
	return status
}

// outcome is what becomes of a volume.
type outcome int

const (
	leaveAlone outcome = iota
	available          // nobody's, or kept for a claim that does not know yet
	bound              // its claim has it
	unbind             // its claim has another
	release            // its claim is gone
)

// planVolume decides about a volume by its claim, which is nil when it does not
// exist.
func planVolume(v *corev1.PersistentVolume, claim *corev1.PersistentVolumeClaim) outcome {
	ref := v.Spec.ClaimRef
	switch {
	case ref == nil || ref.UID == "":
		return available
	case claim == nil || claim.UID != ref.UID:
		return release
	case claim.Spec.VolumeName == v.Name:
		return bound
	case claim.Spec.VolumeName == "":
		return leaveAlone // its claim's turn goes on with it
	case isProvisioned(v) && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return release // made for a claim that has found another meanwhile
	}
	return unbind
}

// isProvisioned tells whether a volume was made for a claim.
func isProvisioned(v *corev1.PersistentVolume) bool {
	return v.Annotations[volume.AnnDynamicallyProvisioned] != ""
}

// planUnbound is a volume without its claim. What a person reserved for a claim
// stays so.
func planUnbound(v *corev1.PersistentVolume) *corev1.PersistentVolume {
	free := v.DeepCopy()
	if _, byController := free.Annotations[volume.AnnBoundByController]; byController {
		delete(free.Annotations, volume.AnnBoundByController)
		free.Spec.ClaimRef = nil
	} else {
		free.Spec.ClaimRef.UID = ""
	}
	return free
}
