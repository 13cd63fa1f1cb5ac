package statefulset

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// hashLabel holds the name of a pod's revision.
const hashLabel = appsv1.StatefulSetRevisionLabel

// ordinalOf is the ordinal of a set's pod; not ok when the name is not such a
// one as the set gives.
func ordinalOf(set *appsv1.StatefulSet, pod *corev1.Pod) (ordinal int, ok bool) {
	digits, ok := strings.CutPrefix(pod.Name, set.Name+"-")
	if !ok {
		return 0, false
	}
	ordinal, err := strconv.Atoi(digits)
	return ordinal, err == nil && ordinal >= 0 && strconv.Itoa(ordinal) == digits
}

// newPod returns a set's pod for an ordinal, with a template and the name of
// the revision that it is from.
func newPod(set *appsv1.StatefulSet, ref metav1.OwnerReference, template *corev1.PodTemplateSpec, revision string, ordinal int) *corev1.Pod {
	pod := podctl.New(set, ref, template)
	pod.GenerateName = ""
	pod.Name = set.Name + "-" + strconv.Itoa(ordinal)
	pod.Labels = identityLabels(pod, ordinal)
	pod.Labels[hashLabel] = revision
	pod.Spec.Hostname = pod.Name
	pod.Spec.Subdomain = set.Spec.ServiceName
	var volumes []corev1.Volume
	for _, claim := range set.Spec.VolumeClaimTemplates {
		volumes = append(volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, &claim, ordinal)},
		}})
	}
	for _, volume := range pod.Spec.Volumes { // a claim replaces a volume of its name
		if !slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == volume.Name }) {
			volumes = append(volumes, volume)
		}
	}
	pod.Spec.Volumes = volumes
	return pod
}

// identityLabels returns a pod's labels with those that say who it is.
func identityLabels(pod *corev1.Pod, ordinal int) map[string]string {
	labels := maps.Clone(pod.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[appsv1.StatefulSetPodNameLabel] = pod.Name
	labels[appsv1.PodIndexLabel] = strconv.Itoa(ordinal)
	return labels
}

func claimName(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) string {
	return template.Name + "-" + set.Name + "-" + strconv.Itoa(ordinal)
}

// newClaims returns the claims of the pod of an ordinal.
func newClaims(set *appsv1.StatefulSet, ordinal int) []*corev1.PersistentVolumeClaim {
	var claims []*corev1.PersistentVolumeClaim
	for i := range set.Spec.VolumeClaimTemplates {
		claim := set.Spec.VolumeClaimTemplates[i].DeepCopy()
		claim.Name = claimName(set, claim, ordinal)
		claim.Namespace = set.Namespace
		labels := map[string]string{}
		maps.Copy(labels, claim.Labels)
		if set.Spec.Selector != nil {
			maps.Copy(labels, set.Spec.Selector.MatchLabels)
		}
		claim.Labels = labels
		claim.Status = corev1.PersistentVolumeClaimStatus{}
		claims = append(claims, claim)
	}
	return claims
}
