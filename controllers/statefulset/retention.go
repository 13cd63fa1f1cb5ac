package statefulset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// planOwners says who owns a claim, by persistentVolumeClaimRetentionPolicy,
// so that the garbage collector deletes it with its owner: the set, the pod
// when that is condemned, or nobody. Owners that are neither stay.
//
//	whenDeleted whenScaled   pod stays   pod is condemned
//	Retain      Retain       –           –
//	Retain      Delete       –           pod
//	Delete      Retain       set         set
//	Delete      Delete       set         pod
func planOwners(set *appsv1.StatefulSet, pod *corev1.Pod, condemned bool, owners []metav1.OwnerReference) []metav1.OwnerReference {
	var policy appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy
	if set.Spec.PersistentVolumeClaimRetentionPolicy != nil {
		policy = *set.Spec.PersistentVolumeClaimRetentionPolicy
	}
	byPod := condemned && policy.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	bySet := !byPod && policy.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType

	planned := slices.DeleteFunc(slices.Clone(owners), func(ref metav1.OwnerReference) bool {
		return (ref.UID == set.UID && !bySet) || (ref.UID == pod.UID && !byPod)
	})
	hasController := slices.ContainsFunc(planned, func(ref metav1.OwnerReference) bool { return ref.Controller != nil && *ref.Controller })
	var want *metav1.OwnerReference
	switch {
	case bySet:
		want = metav1.NewControllerRef(set, kind)
	case byPod:
		want = metav1.NewControllerRef(pod, corev1.SchemeGroupVersion.WithKind("Pod"))
	default:
		return planned
	}
	if hasController { // it is this very owner, or another whose claim it is
		return planned
	}
	return append(planned, *want)
}

// isStale tells whether a claim is about to be deleted with an earlier pod of
// the same name: a new pod must not count on it.
func isStale(claim *corev1.PersistentVolumeClaim, pod string) bool {
	return claim.DeletionTimestamp != nil || slices.ContainsFunc(claim.OwnerReferences, func(ref metav1.OwnerReference) bool {
		return ref.Kind == "Pod" && ref.Name == pod
	})
}
