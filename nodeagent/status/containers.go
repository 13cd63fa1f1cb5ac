package status

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// specContainers gives the containers of a kind.
func specContainers(pod *corev1.Pod, kind runtime.ContainerKind) []*corev1.Container {
	var out []*corev1.Container
	switch kind {
	case runtime.Init:
		for i := range pod.Spec.InitContainers {
			out = append(out, &pod.Spec.InitContainers[i])
		}
	case runtime.Ephemeral:
		for i := range pod.Spec.EphemeralContainers {
			out = append(out, podworker.EphemeralContainer(&pod.Spec.EphemeralContainers[i]))
		}
	default:
		for i := range pod.Spec.Containers {
			out = append(out, &pod.Spec.Containers[i])
		}
	}
	return out
}

func oldStatuses(pod *corev1.Pod, kind runtime.ContainerKind) []corev1.ContainerStatus {
	switch kind {
	case runtime.Init:
		return pod.Status.InitContainerStatuses
	case runtime.Ephemeral:
		return pod.Status.EphemeralContainerStatuses
	}
	return pod.Status.ContainerStatuses
}

func containerStatuses(in Input, kind runtime.ContainerKind) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for _, c := range specContainers(in.Pod, kind) {
		var old *corev1.ContainerStatus
		if i := slices.IndexFunc(oldStatuses(in.Pod, kind), func(s corev1.ContainerStatus) bool { return s.Name == c.Name }); i >= 0 {
			old = &oldStatuses(in.Pod, kind)[i]
		}
		out = append(out, containerStatus(in, c, kind, old))
	}
	return out
}

func containerStatus(in Input, c *corev1.Container, kind runtime.ContainerKind, old *corev1.ContainerStatus) corev1.ContainerStatus {
	s := corev1.ContainerStatus{Name: c.Name, Image: c.Image}
	latest := podworker.Latest(in.Observed.Containers, kind, c.Name)
	if latest == nil {
		return withoutContainer(in, s, old)
	}
	s.Image, s.ImageID = latest.Image, latest.ImageID
	s.ContainerID = containerID(in, latest)
	s.RestartCount = int32(latest.Attempt)
	started := false
	switch latest.State {
	case runtime.Running:
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: seconds(latest.StartedAt)}
		started = true
		ready := true
		if in.Observed.Probes != nil {
			answers, known := in.Observed.Probes(latest.ID)
			started = known && answers.Started
			ready = known && answers.Ready
		}
		// An init container that runs has not done its work yet.
		s.Ready = ready && (kind == runtime.Regular || podworker.IsSidecar(c))
		s.AllocatedResources = c.Resources.Requests
		s.Resources = resources.OfContainer(in.Pod, c, latest.Resources)
	case runtime.Exited:
		// What it will have when it starts again.
		s.AllocatedResources = c.Resources.Requests
		s.Resources = c.Resources.DeepCopy()
		s.State.Terminated = terminated(in, latest)
		s.Ready = kind == runtime.Init && latest.ExitCode == 0
		if waiting := waitingToRestart(in, c, latest); waiting != nil {
			s.LastTerminationState.Terminated = s.State.Terminated
			s.State = corev1.ContainerState{Waiting: waiting}
			s.Ready = false
		}
	default:
		s.State.Waiting = waiting(in, c.Name)
		// Until it has started, what it is made from is not told.
		s.ContainerID, s.ImageID = "", ""
		if latest.Attempt > 0 && old != nil {
			s.ContainerID, s.ImageID = old.ContainerID, old.ImageID
		}
	}
	if s.LastTerminationState.Terminated == nil {
		if previous := podworker.Previous(in.Observed.Containers, kind, c.Name); previous != nil && previous.State == runtime.Exited {
			s.LastTerminationState.Terminated = terminated(in, previous)
		} else if old != nil && old.RestartCount == s.RestartCount {
			s.LastTerminationState = old.LastTerminationState
		}
	}
	s.Started = &started
	if s.State.Running != nil || s.State.Terminated != nil {
		s.VolumeMounts = mountStatuses(c)
	}
	return s
}

// withoutContainer is the status of a container that the runtime does not
// know: one that was not yet made, or whose record was lost.
func withoutContainer(in Input, s corev1.ContainerStatus, old *corev1.ContainerStatus) corev1.ContainerStatus {
	s.Started = new(false)
	s.State.Waiting = waiting(in, s.Name)
	if old == nil || old.ContainerID == "" {
		return s
	}
	s.RestartCount = old.RestartCount
	s.ContainerID, s.ImageID = old.ContainerID, old.ImageID
	s.LastTerminationState = old.LastTerminationState
	switch {
	case old.State.Terminated != nil:
		s.State = old.State
		s.Ready = old.Ready && old.State.Terminated.ExitCode == 0
	case old.State.Running != nil:
		// The kubelet's code and reason for a container that can't be found.
		gone := &corev1.ContainerStateTerminated{
			ExitCode: 137, Reason: "ContainerStatusUnknown",
			Message:     "The container could not be located when the pod was terminated",
			ContainerID: old.ContainerID,
		}
		if in.Pod.DeletionTimestamp != nil || in.State.Ending != nil {
			s.State = corev1.ContainerState{Terminated: gone}
		} else {
			gone.Message = "The container could not be located when the pod was deleted.  The container used to be Running"
			s.LastTerminationState = corev1.ContainerState{Terminated: gone}
		}
	}
	return s
}

func containerID(in Input, c *runtime.Container) string { return in.RuntimeName + "://" + c.ID }

// waiting is why a container is not there yet.
func waiting(in Input, name string) *corev1.ContainerStateWaiting {
	if f, ok := in.State.Failures[podworker.StartKey(name)]; ok && f.Reason != "" {
		return &corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
	}
	if len(in.Pod.Spec.InitContainers) > 0 {
		return &corev1.ContainerStateWaiting{Reason: "PodInitializing"}
	}
	return &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
}

// waitingToRestart is the waiting state of a container that has ended and will
// be started again, nil if its end is to be shown.
func waitingToRestart(in Input, c *corev1.Container, latest *runtime.Container) *corev1.ContainerStateWaiting {
	if in.Pod.DeletionTimestamp != nil || in.State.Ending != nil {
		return nil
	}
	f, ok := in.State.Failures[podworker.StartKey(c.Name)]
	if !ok || f.Reason == "" || f.Reason == podworker.RunContainerError && latest.Message != "" {
		return nil
	}
	return &corev1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
}

func terminated(in Input, c *runtime.Container) *corev1.ContainerStateTerminated {
	t := &corev1.ContainerStateTerminated{
		ExitCode:    int32(c.ExitCode),
		Message:     c.Message,
		StartedAt:   seconds(c.StartedAt),
		FinishedAt:  seconds(c.FinishedAt),
		ContainerID: containerID(in, c),
	}
	switch {
	case c.StartedAt.IsZero() && c.Message != "":
		t.Reason = "StartError"
		t.StartedAt = metav1.Unix(0, 0)
	case c.OOMKilled:
		t.Reason = "OOMKilled"
	case c.ExitCode == 0:
		t.Reason = "Completed"
	case c.Message != "" && c.ExitCode == 255:
		t.Reason = "Unknown"
	default:
		t.Reason = "Error"
	}
	if t.Message == "" && in.TerminationMessage != nil {
		t.Message = in.TerminationMessage(c)
	}
	return t
}

func mountStatuses(c *corev1.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			s.RecursiveReadOnly = new(corev1.RecursiveReadOnlyDisabled)
		}
		out = append(out, s)
	}
	return out
}
