package logs

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// ContainerID gives the runtime's ID of the container whose log is meant, the
// present or the previous one, by the pod's status. The errors are the
// kubelet's, which users see.
func ContainerID(pod *corev1.Pod, container string, previous bool) (string, error) {
	status, ok := statusOf(pod, container)
	if !ok {
		return "", fmt.Errorf("container %q in pod %q is not available", container, pod.Name)
	}
	var last string
	if t := status.LastTerminationState.Terminated; t != nil {
		last = t.ContainerID
	}
	id := ""
	switch state := status.State; {
	case previous:
		if last == "" {
			return "", fmt.Errorf("previous terminated container %q in pod %q not found", container, pod.Name)
		}
		id = last
	case state.Running != nil:
		id = status.ContainerID
	case state.Terminated != nil:
		// A container that could not be made has no ID, and no log.
		if id = state.Terminated.ContainerID; id == "" {
			id = last
		}
	case last != "":
		id = last
	case state.Waiting != nil && status.LastTerminationState.Terminated == nil:
		reason := state.Waiting.Reason
		switch reason {
		case "ErrImagePull":
			reason = "image can't be pulled"
		case "ImagePullBackOff":
			reason = "trying and failing to pull image"
		}
		return "", fmt.Errorf("container %q in pod %q is waiting to start: %v", container, pod.Name, reason)
	case state.Waiting == nil:
		return "", fmt.Errorf("container %q in pod %q is waiting to start - no logs yet", container, pod.Name)
	}
	if id == "" {
		return "", fmt.Errorf("container %q in pod %q is terminated", container, pod.Name)
	}
	if _, bare, ok := strings.Cut(id, "://"); ok {
		id = bare
	}
	return id, nil
}

func statusOf(pod *corev1.Pod, container string) (corev1.ContainerStatus, bool) {
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for _, s := range list {
			if s.Name == container {
				return s, true
			}
		}
	}
	return corev1.ContainerStatus{}, false
}
