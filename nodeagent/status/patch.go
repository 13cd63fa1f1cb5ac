package status

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// seconds cuts a time to what the API keeps.
func seconds(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.Time{Time: t.Truncate(time.Second)}
}

// Patch gives the strategic merge patch from one status to another, nil if they
// are the same. Conditions are merged by type, so that those of others stay;
// lists of containers are replaced as wholes.
func Patch(from, to *corev1.PodStatus) map[string]any {
	patch := map[string]any{}
	set := func(name string, a, b any) {
		if !equality.Semantic.DeepEqual(a, b) {
			patch[name] = b
		}
	}
	set("phase", from.Phase, to.Phase)
	set("reason", from.Reason, to.Reason)
	set("message", from.Message, to.Message)
	set("hostIP", from.HostIP, to.HostIP)
	set("podIP", from.PodIP, to.PodIP)
	set("startTime", from.StartTime, to.StartTime)
	set("observedGeneration", from.ObservedGeneration, to.ObservedGeneration)
	set("containerStatuses", from.ContainerStatuses, to.ContainerStatuses)
	set("initContainerStatuses", from.InitContainerStatuses, to.InitContainerStatuses)
	set("ephemeralContainerStatuses", from.EphemeralContainerStatuses, to.EphemeralContainerStatuses)
	if !equality.Semantic.DeepEqual(from.AllocatedResources, to.AllocatedResources) {
		patch["allocatedResources"] = quantities(from.AllocatedResources, to.AllocatedResources)
	}
	if !equality.Semantic.DeepEqual(from.Resources, to.Resources) {
		patch["resources"] = requirements(from.Resources, to.Resources)
	}
	replace(patch, "hostIPs", from.HostIPs, to.HostIPs)
	replace(patch, "podIPs", from.PodIPs, to.PodIPs)
	var changed []any
	for _, c := range from.Conditions {
		if ofResize(c.Type) && find(to.Conditions, c.Type) == nil {
			changed = append(changed, map[string]any{"type": c.Type, "$patch": "delete"})
		}
	}
	for _, c := range to.Conditions {
		if old := find(from.Conditions, c.Type); old == nil || !equality.Semantic.DeepEqual(*old, c) {
			changed = append(changed, c)
		}
	}
	if len(changed) > 0 {
		patch["conditions"] = changed
	}
	if len(patch) == 0 {
		return nil
	}
	return patch
}

func requirements(from, to *corev1.ResourceRequirements) any {
	if from == nil || to == nil {
		return to
	}
	return map[string]any{"requests": quantities(from.Requests, to.Requests), "limits": quantities(from.Limits, to.Limits)}
}

// quantities are merged by name: those that are gone have to be said.
func quantities(from, to corev1.ResourceList) map[string]any {
	out := map[string]any{}
	for name := range from {
		out[string(name)] = nil
	}
	for name, q := range to {
		out[string(name)] = q
	}
	return out
}

// replace sets a list that would be merged.
func replace[T any](patch map[string]any, name string, from, to []T) {
	if equality.Semantic.DeepEqual(from, to) {
		return
	}
	list := []any{}
	if len(from) > 0 {
		list = append(list, map[string]string{"$patch": "replace"})
	}
	for _, v := range to {
		list = append(list, v)
	}
	patch[name] = list
}

// encode names the pod by its UID: another pod of the same name is a conflict.
func encode(uid types.UID, patch map[string]any) ([]byte, error) {
	data, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "status": patch})
	if err != nil {
		return nil, fmt.Errorf("encode status: %w", err)
	}
	return data, nil
}
