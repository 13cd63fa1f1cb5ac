package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
)

// conditions gives the pod's conditions in the kubelet's order, those of others
// after them. A condition's transition time changes with its status only.
func conditions(in Input, s *corev1.PodStatus) []corev1.PodCondition {
	own := []corev1.PodCondition{
		sandboxReady(in),
		initializedCondition(in, s),
		readyCondition(in, s),
		containersReady(in, s),
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	if e := in.State.Ending; e != nil && e.Condition.Type != "" {
		own = append(own, e.Condition)
	}
	var out []corev1.PodCondition
	for _, c := range own {
		c.ObservedGeneration = in.Pod.Generation
		c.LastTransitionTime = metav1.Time{Time: in.Now.Truncate(0)}
		if old := find(in.Pod.Status.Conditions, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
			c.LastProbeTime = old.LastProbeTime
		}
		c.LastTransitionTime = seconds(c.LastTransitionTime.Time)
		out = append(out, c)
	}
	out = append(out, resizeConditions(in, s)...)
	for _, c := range in.Pod.Status.Conditions {
		if find(out, c.Type) == nil && !ofResize(c.Type) {
			out = append(out, c)
		}
	}
	return out
}

// resizeConditions are there only while a pod that has not ended waits for
// resources or gets them. They tell of the generation that asked for them, and
// their transition time changes with the reason.
func resizeConditions(in Input, s *corev1.PodStatus) []corev1.PodCondition {
	if s.Phase == corev1.PodSucceeded || s.Phase == corev1.PodFailed {
		return nil
	}
	var out []corev1.PodCondition
	for _, r := range []struct {
		kind   corev1.PodConditionType
		resize *podworker.Resize
	}{{corev1.PodResizePending, in.State.Pending}, {corev1.PodResizeInProgress, in.State.Resizing}} {
		if r.resize == nil {
			continue
		}
		c := corev1.PodCondition{
			Type: r.kind, Status: corev1.ConditionTrue, Reason: r.resize.Reason, Message: r.resize.Message,
			ObservedGeneration: r.resize.Generation, LastTransitionTime: seconds(in.Now),
		}
		if old := find(in.Pod.Status.Conditions, r.kind); old != nil && old.Reason == c.Reason {
			c.LastTransitionTime, c.LastProbeTime = old.LastTransitionTime, old.LastProbeTime
		}
		out = append(out, c)
	}
	return out
}

func ofResize(t corev1.PodConditionType) bool {
	return t == corev1.PodResizePending || t == corev1.PodResizeInProgress
}

func find(list []corev1.PodCondition, t corev1.PodConditionType) *corev1.PodCondition {
	if i := slices.IndexFunc(list, func(c corev1.PodCondition) bool { return c.Type == t }); i >= 0 {
		return &list[i]
	}
	return nil
}

func condition(t corev1.PodConditionType, ok bool, reason, message string) corev1.PodCondition {
	c := corev1.PodCondition{Type: t, Status: corev1.ConditionTrue}
	if !ok {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, reason, message
	}
	return c
}

func sandboxReady(in Input) corev1.PodCondition {
	return condition(corev1.PodReadyToStartContainers, in.Observed.Sandbox != nil && in.State.Attached && !in.State.TornDown, "", "")
}

func initializedCondition(in Input, s *corev1.PodStatus) corev1.PodCondition {
	switch {
	case s.Phase == corev1.PodSucceeded && !anySidecar(in.Pod):
		c := condition(corev1.PodInitialized, true, "", "")
		c.Reason = "PodCompleted"
		return c
	case s.Phase == corev1.PodFailed && len(s.ContainerStatuses) == 0 && len(in.Pod.Spec.InitContainers) > 0:
		return condition(corev1.PodInitialized, false, "PodFailed", "")
	}
	done, _ := initialization(in, s)
	if done {
		return condition(corev1.PodInitialized, true, "", "")
	}
	var incomplete []string
	for i := range s.InitContainerStatuses {
		st := &s.InitContainerStatuses[i]
		if podworker.IsSidecar(&in.Pod.Spec.InitContainers[i]) {
			if st.Started == nil || !*st.Started {
				incomplete = append(incomplete, st.Name)
			}
		} else if !st.Ready {
			incomplete = append(incomplete, st.Name)
		}
	}
	return condition(corev1.PodInitialized, false, "ContainersNotInitialized", fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(incomplete, " ")))
}

func anySidecar(pod *corev1.Pod) bool {
	for i := range pod.Spec.InitContainers {
		if podworker.IsSidecar(&pod.Spec.InitContainers[i]) {
			return true
		}
	}
	return false
}

func containersReady(in Input, s *corev1.PodStatus) corev1.PodCondition {
	switch s.Phase {
	case corev1.PodSucceeded:
		return condition(corev1.ContainersReady, false, "PodCompleted", "")
	case corev1.PodFailed:
		return condition(corev1.ContainersReady, false, "PodFailed", "")
	}
	var unready []string
	for i := range s.InitContainerStatuses {
		if podworker.IsSidecar(&in.Pod.Spec.InitContainers[i]) && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, s.InitContainerStatuses[i].Name)
		}
	}
	for i := range s.ContainerStatuses {
		if !s.ContainerStatuses[i].Ready {
			unready = append(unready, s.ContainerStatuses[i].Name)
		}
	}
	return condition(corev1.ContainersReady, len(unready) == 0, "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " ")))
}

func readyCondition(in Input, s *corev1.PodStatus) corev1.PodCondition {
	c := containersReady(in, s)
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var unready []string
	for _, gate := range in.Pod.Spec.ReadinessGates {
		got := find(in.Pod.Status.Conditions, gate.ConditionType)
		switch {
		case got == nil:
			unready = append(unready, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case got.Status != corev1.ConditionTrue:
			unready = append(unready, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, got.Status))
		}
	}
	return condition(corev1.PodReady, len(unready) == 0, "ReadinessGatesNotReady", strings.Join(unready, ", "))
}
