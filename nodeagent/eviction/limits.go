package eviction

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// hasDiskLimit tells whether a pod may use only so much local disk, so that its
// usage is not measured for nothing.
func hasDiskLimit(pod *corev1.Pod) bool {
	for i := range pod.Spec.Containers {
		if _, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage]; ok {
			return true
		}
	}
	for i := range pod.Spec.Volumes {
		if d := pod.Spec.Volumes[i].EmptyDir; d != nil && d.SizeLimit != nil && d.Medium != corev1.StorageMediumMemory {
			return true
		}
	}
	return false
}

// exceeded is the status message of a pod that uses more local disk than it may,
// empty if it does not.
func exceeded(pod *corev1.Pod, usage Usage) string {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.Medium == corev1.StorageMediumMemory {
			continue
		}
		if limit := v.EmptyDir.SizeLimit; limit.Sign() > 0 && usage.EmptyDirs[v.Name] > uint64(limit.Value()) {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, limit.String())
		}
	}
	limited := len(pod.Spec.Containers) > 0
	for i := range pod.Spec.Containers {
		if _, ok := pod.Spec.Containers[i].Resources.Limits[corev1.ResourceEphemeralStorage]; !ok {
			limited = false // One without a limit may use what there is.
		}
	}
	if limited {
		total := sumOf(pod, func(c *corev1.Container) int64 {
			q := c.Resources.Limits[corev1.ResourceEphemeralStorage]
			return q.Value()
		})
		if usage.Disk > uint64(total) {
			return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ",
				resource.NewQuantity(total, resource.BinarySI))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(usage.Containers)) {
		for i := range pod.Spec.Containers {
			c := &pod.Spec.Containers[i]
			limit, ok := c.Resources.Limits[corev1.ResourceEphemeralStorage]
			if ok && c.Name == name && usage.Containers[name].Disk > uint64(limit.Value()) {
				return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", name, limit.String())
			}
		}
	}
	return ""
}
