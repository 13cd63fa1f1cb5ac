package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/api/print"
)

// podSummary is a pod's state in a few words, as `kubectl get pods` prints it.
type podSummary struct {
	ready, total int
	reason       string
	restarts     int32
	// lastRestart is when a container ended that was started again; zero when
	// none was.
	lastRestart metav1.Time
}

func (s *podSummary) readyCell() string { return fmt.Sprintf("%d/%d", s.ready, s.total) }

func (s *podSummary) restartsCell() string {
	if s.restarts == 0 || s.lastRestart.IsZero() {
		return fmt.Sprint(s.restarts)
	}
	return fmt.Sprintf("%d (%s ago)", s.restarts, print.Since(s.lastRestart))
}

// count adds the restarts of a container.
func (s *podSummary) count(c *corev1.ContainerStatus) {
	s.restarts += c.RestartCount
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

// reasonNodeLost is in the status of a pod whose node is not heard of.
const reasonNodeLost = "NodeLost"

// summarize finds what keeps a pod from running, or that nothing does: first
// among init containers, then among containers.
func summarize(pod *corev1.Pod) *podSummary {
	s := &podSummary{total: len(pod.Spec.Containers), reason: string(pod.Status.Phase)}
	if pod.Status.Reason != "" {
		s.reason = pod.Status.Reason
	}
	if c := podCondition(pod, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		s.reason = corev1.PodReasonSchedulingGated
	}
	if !s.initializing(pod) {
		s.running(pod)
	}
	switch {
	case pod.DeletionTimestamp == nil:
	case pod.Status.Reason == reasonNodeLost:
		s.reason = "Unknown"
	case !isFinished(pod):
		s.reason = "Terminating"
	}
	return s
}

// initializing looks at init containers and tells whether they say it all.
// When they do, all of their restarts count, otherwise those of sidecars.
func (s *podSummary) initializing(pod *corev1.Pod) bool {
	sidecars := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		sidecars[c.Name] = isSidecar(c)
		if sidecars[c.Name] {
			s.total++
		}
	}
	var beside podSummary
	found := false
	for i := range pod.Status.InitContainerStatuses {
		c := &pod.Status.InitContainerStatuses[i]
		s.count(c)
		if sidecars[c.Name] {
			beside.count(c)
		}
		ended := c.State.Terminated != nil && c.State.Terminated.ExitCode == 0
		started := sidecars[c.Name] && c.Started != nil && *c.Started
		if !ended && !started {
			s.reason = initReason(pod, i)
			found = true
			break
		}
		if !ended && c.Ready {
			s.ready++
		}
	}
	initialized := podCondition(pod, corev1.PodInitialized)
	if found && (initialized == nil || initialized.Status != corev1.ConditionTrue) {
		return true
	}
	s.restarts, s.lastRestart = beside.restarts, beside.lastRestart
	return false
}

// initReason is why the i-th init container has not done its work.
func initReason(pod *corev1.Pod, i int) string {
	state := pod.Status.InitContainerStatuses[i].State
	switch {
	case state.Terminated != nil:
		return "Init:" + endReason(state.Terminated)
	case state.Waiting != nil && state.Waiting.Reason != "" && state.Waiting.Reason != "PodInitializing":
		return "Init:" + state.Waiting.Reason
	default:
		return fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers))
	}
}

// endReason is why a container ended: in words, or by number.
func endReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	default:
		return fmt.Sprintf("ExitCode:%d", t.ExitCode)
	}
}

// running looks at containers. The first that does not run gives the reason.
func (s *podSummary) running(pod *corev1.Pod) {
	someRun := false
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &pod.Status.ContainerStatuses[i]
		s.count(c)
		switch state := c.State; {
		case state.Waiting != nil && state.Waiting.Reason != "":
			s.reason = state.Waiting.Reason
		case state.Terminated != nil:
			s.reason = endReason(state.Terminated)
		case c.Ready && state.Running != nil:
			someRun = true
			s.ready++
		}
	}
	// One that is done does not make a pod complete.
	if s.reason == "Completed" && someRun {
		s.reason = "NotReady"
		if c := podCondition(pod, corev1.PodReady); c != nil && c.Status == corev1.ConditionTrue {
			s.reason = "Running"
		}
	}
}

func podCondition(pod *corev1.Pod, t corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == t {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// readinessGates is how many of the conditions that a pod waits for are true.
func readinessGates(pod *corev1.Pod) string {
	if len(pod.Spec.ReadinessGates) == 0 {
		return print.None
	}
	n := 0
	for _, g := range pod.Spec.ReadinessGates {
		if c := podCondition(pod, g.ConditionType); c != nil && c.Status == corev1.ConditionTrue {
			n++
		}
	}
	return fmt.Sprintf("%d/%d", n, len(pod.Spec.ReadinessGates))
}

// podRowConditions tell of pods that have ended.
func podRowConditions(pod *corev1.Pod) []metav1.TableRowCondition {
	message := map[corev1.PodPhase]string{corev1.PodSucceeded: "The pod has completed successfully.", corev1.PodFailed: "The pod failed."}[pod.Status.Phase]
	if message == "" {
		return nil
	}
	return []metav1.TableRowCondition{{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(pod.Status.Phase), Message: message}}
}
