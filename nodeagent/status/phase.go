package status

import (
	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
)

// phase follows the kubelet's rules: a phase that is final stays; a failed init
// container of a pod that is not restarted ends it; a container that never ran
// keeps it Pending.
func phase(in Input, s *corev1.PodStatus) corev1.PodPhase {
	old := in.Pod.Status.Phase
	if old == corev1.PodFailed || old == corev1.PodSucceeded {
		return old
	}
	ending := in.State.Ending != nil || in.Pod.DeletionTimestamp != nil
	over := ending && in.State.TornDown || podworker.Finished(in.Pod, in.Observed.Containers, in.Observed.Sandbox, in.State.Replaced)
	if in.State.Ending != nil && in.State.Ending.Reason != "Removed" {
		// Ended by the node: failed as soon as nothing runs.
		if !anyRunning(s) {
			return corev1.PodFailed
		}
	}
	initialized, failedInit := initialization(in, s)
	if failedInit && in.Pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
		return corev1.PodFailed
	}
	var running, waiting, succeeded, failed int
	for i := range s.ContainerStatuses {
		c := &s.ContainerStatuses[i]
		end := c.State.Terminated
		if end == nil && c.State.Waiting != nil {
			end = c.LastTerminationState.Terminated // between two attempts
		}
		switch {
		case c.State.Running != nil:
			running++
		case end == nil:
			waiting++
		case end.ExitCode == 0:
			succeeded++
		default:
			failed++
		}
	}
	switch {
	case over && running == 0 && failed == 0 && waiting == 0 && succeeded > 0:
		return corev1.PodSucceeded
	case over && running == 0 && in.State.TornDown && ending:
		return corev1.PodFailed
	case over && running == 0 && waiting == 0:
		return corev1.PodFailed
	case !initialized, waiting > 0:
		return corev1.PodPending
	}
	return corev1.PodRunning
}

func anyRunning(s *corev1.PodStatus) bool {
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses} {
		for i := range list {
			if list[i].State.Running != nil {
				return true
			}
		}
	}
	return false
}

// initialization says whether all init containers are through, and whether one
// has failed. Once a regular container was started they were.
func initialization(in Input, s *corev1.PodStatus) (done, failed bool) {
	begun := false
	for i := range s.ContainerStatuses {
		begun = begun || s.ContainerStatuses[i].ContainerID != ""
	}
	done = true
	for i := range in.Pod.Spec.InitContainers {
		st := &s.InitContainerStatuses[i]
		if podworker.IsSidecar(&in.Pod.Spec.InitContainers[i]) {
			if st.Started == nil || !*st.Started {
				done = false
			}
			continue
		}
		if st.State.Terminated == nil || st.State.Terminated.ExitCode != 0 {
			done = false
		}
		if st.State.Terminated != nil && st.State.Terminated.ExitCode != 0 {
			failed = true
		}
	}
	return done || begun, failed
}
