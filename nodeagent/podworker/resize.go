package podworker

import (
	"encoding/json"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/nodeagent/resources"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
)

// Between attempts to resize: a container may come to use less memory.
const (
	resizeDelay    = 10 * time.Second
	maxResizeDelay = time.Minute
)

// Reasons of the events about a resize.
const (
	ResizeStarted    = "ResizeStarted"
	ResizeCompleted  = "ResizeCompleted"
	ResizeDeferred   = "ResizeDeferred"
	ResizeInfeasible = "ResizeInfeasible"
	ResizeError      = "ResizeError"
)

// resize plans what cgroups need, and follows how a resize goes.
func (t *turn) resize() {
	t.plan = resources.NewPlan(t.Pod, t.Sandbox, t.Containers)
	s := t.state
	for i := range t.Containers {
		if c := &t.Containers[i]; c.State == runtime.Running && c.Kind != runtime.Ephemeral && s.Replaced[c.Name] != c.ID {
			delete(s.Replaced, c.Name) // its successor
		}
	}
	f, failed := s.Failures[string(ResizePod)]
	switch {
	case !t.plan.Unfinished(t.Pod) && len(s.Replaced) == 0 && (s.Resizing == nil || t.plan.Empty()):
		if s.Resizing != nil {
			t.event(corev1.EventTypeNormal, ResizeCompleted, ResizeMessage("completed", t.Pod, s.Resizing.Generation, ""), "")
		}
		s.Resizing = nil
	case s.Resizing == nil && t.plan.Unfinished(t.Pod):
		s.Resizing = &Resize{Generation: t.Pod.Generation}
	case s.Resizing != nil && failed && s.Resizing.Message != f.Message:
		s.Resizing = &Resize{Reason: corev1.PodReasonError, Message: f.Message, Generation: s.Resizing.Generation}
		t.event(corev1.EventTypeWarning, ResizeError, ResizeMessage("error", t.Pod, s.Resizing.Generation, f.Message), "")
	}
	if t.plan.Empty() {
		delete(s.Failures, string(ResizePod))
		return
	}
	if t.retry(string(ResizePod), resizeDelay, maxResizeDelay) {
		t.do(Action{Kind: ResizePod})
	}
}

// replace ends a container that is to be started anew at once.
func (t *turn) replace(running *runtime.Container, message string) {
	if t.state.Replaced == nil {
		t.state.Replaced = map[string]string{}
	}
	t.state.Replaced[running.Name] = running.ID
	t.kill(running, t.Now.Add(t.grace(nil)), message)
}

// rememberResize takes up what the status says of a resize from before the
// agent's start.
func (s *State) rememberResize(pod *corev1.Pod) {
	for _, c := range pod.Status.Conditions {
		was := &Resize{Reason: c.Reason, Message: c.Message, Generation: c.ObservedGeneration}
		switch c.Type {
		case corev1.PodResizePending:
			s.Pending = was
		case corev1.PodResizeInProgress:
			s.Resizing = was
		}
	}
}

// Resized takes a pod with the resources that it has just been allocated.
func (w *Worker) Resized(pod *corev1.Pod) {
	w.mu.Lock()
	w.pod = pod
	w.state.Pending, w.state.Resizing = nil, &Resize{Generation: pod.Generation}
	delete(w.state.Failures, string(ResizePod))
	w.mu.Unlock()
	w.Poke()
}

// SetPending takes why a resize waits, nil for none, and says whether that is
// another reason, or for another generation, than before.
func (w *Worker) SetPending(p *Resize) bool {
	w.mu.Lock()
	old := w.state.Pending
	if old == nil && p == nil || old != nil && p != nil && *old == *p {
		w.mu.Unlock()
		return false
	}
	w.state.Pending = p
	w.mu.Unlock()
	w.Poke()
	return p != nil && (old == nil || old.Reason != p.Reason || old.Generation != p.Generation)
}

// ResizeMessage is the message of an event about a resize: what happened, and
// the resources that the pod asks for as the kubelet writes them.
func ResizeMessage(what string, pod *corev1.Pod, generation int64, problem string) string {
	type container struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources"`
	}
	summary := struct {
		InitContainers []container `json:"initContainers,omitempty"`
		Containers     []container `json:"containers,omitempty"`
		Generation     int64       `json:"generation"`
		Error          string      `json:"error,omitempty"`
	}{Generation: generation, Error: problem}
	for _, c := range pod.Spec.InitContainers {
		summary.InitContainers = append(summary.InitContainers, container{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		summary.Containers = append(summary.Containers, container{c.Name, c.Resources})
	}
	data, err := json.Marshal(summary)
	if err != nil {
		return "Pod resize " + what
	}
	return "Pod resize " + what + ": " + string(data)
}
