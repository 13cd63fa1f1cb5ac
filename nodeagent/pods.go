package nodeagent

import (
	"context"
	"fmt"
	"net"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/eviction"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/status"
)

// handler takes pods from the source.
type handler struct{ *Agent }

// Update implements podsource.Handler.
func (h handler) Update(pod *corev1.Pod) {
	a := h.Agent
	a.mu.Lock()
	w, known := a.workers[pod.UID]
	if !known {
		// With what it was allocated before the agent's start, if it was.
		pod, _ := a.allocations.Apply(pod)
		w = podworker.NewWorker(a.ctx, pod, host{a}, a.cfg.Clock, &a.tasks)
	}
	var rejected *podworker.Ending
	if !known && pod.Status.StartTime == nil && pod.DeletionTimestamp == nil {
		rejected = a.admit(pod)
	}
	a.workers[pod.UID] = w
	if rejected == nil {
		pod = a.allocate(w, pod)
	}
	a.mu.Unlock()
	if rejected != nil {
		a.record(pod, "", corev1.EventTypeWarning, rejected.Reason, rejected.Message)
		rejected.Message = "Pod was rejected: " + rejected.Message
		w.End(*rejected)
		return
	}
	if !known {
		w.Poke()
		return
	}
	if a.volumes != nil {
		a.tasks.Go(func() { a.volumes.Update(a.ctx, pod) })
	}
	w.Update(pod, false)
	a.grantWishes()
}

// admit decides whether the node takes a pod; a.mu is held.
func (a *Agent) admit(pod *corev1.Pod) *podworker.Ending {
	if a.evictor != nil {
		if ok, message := a.evictor.Admit(pod); !ok {
			return &podworker.Ending{Reason: eviction.ReasonEvicted, Message: message, Rejected: true}
		}
	}
	if message := forbiddenSysctl(pod, a.cfg.AllowedUnsafeSysctls); message != "" {
		return &podworker.Ending{Reason: "SysctlForbidden", Message: message, Rejected: true}
	}
	pod, _ = a.allocations.Apply(pod)
	return planAdmission(pod, a.activePods(), a.node.Get(), a.allocatable)
}

// Delete implements podsource.Handler.
func (h handler) Delete(pod *corev1.Pod) {
	if w := h.worker(pod.UID); w != nil {
		w.Update(nil, true)
	}
}

// Synced implements podsource.Handler: what runs here for nobody is ended.
func (h handler) Synced() {
	a := h.Agent
	if err := a.endOrphans(a.ctx); err != nil {
		klog.FromContext(a.ctx).Error(err, "Ending pods that are gone")
	}
	close(a.synced)
	a.grantWishes()
}

// endOrphans ends what is left of pods that vanished while the agent was away.
func (a *Agent) endOrphans(ctx context.Context) error {
	sandboxes, containers, err := a.engine.List(ctx)
	if err != nil {
		return err
	}
	left := map[types.UID]*corev1.Pod{}
	orphan := func(uid types.UID, namespace, name string) {
		if uid == "" || a.worker(uid) != nil {
			return
		}
		if old, ok := left[uid]; !ok || old.Name == "" {
			left[uid] = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: uid, Namespace: namespace, Name: name}}
		}
	}
	for i := range sandboxes {
		orphan(sandboxes[i].UID, sandboxes[i].Namespace, sandboxes[i].Name)
	}
	for i := range containers {
		orphan(containers[i].PodUID, "", "")
	}
	for _, id := range a.network.Pods() {
		orphan(types.UID(id), "", "")
	}
	if a.volumes != nil {
		uids, err := a.volumes.Pods()
		if err != nil {
			return err
		}
		for _, uid := range uids {
			orphan(uid, "", "")
		}
	}
	for _, uid := range a.allocations.Pods() {
		if a.worker(uid) == nil && left[uid] == nil {
			if err := a.allocations.Release(uid); err != nil {
				return err
			}
		}
	}
	for uid, pod := range left {
		w := podworker.NewWorker(a.ctx, pod, host{a}, a.cfg.Clock, &a.tasks)
		a.mu.Lock()
		a.workers[uid] = w
		a.mu.Unlock()
		w.Update(nil, true)
	}
	return nil
}

func (a *Agent) worker(uid types.UID) *podworker.Worker {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.workers[uid]
}

func (a *Agent) poke(uid types.UID) {
	if w := a.worker(uid); w != nil {
		w.Poke()
	}
}

func (a *Agent) pokeAll() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		w.Poke()
	}
}

func (a *Agent) closeWorkers() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, w := range a.workers {
		w.Close()
	}
}

// activePods are those that take room on the node; a.mu is held. One that is gone
// from the API takes none, although it may still be ending: its room has been
// given away by then.
func (a *Agent) activePods() []*corev1.Pod {
	var out []*corev1.Pod
	for _, w := range a.workers {
		if pod := w.Pod(); pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed && !w.Rejected() && !w.Removed() {
			out = append(out, pod)
		}
	}
	return out
}

// host is what workers see of the agent.
type host struct{ *Agent }

var _ podworker.Host = host{}

// Observe implements podworker.Host.
func (h host) Observe(ctx context.Context, pod *corev1.Pod, podIPs []string) (podworker.Observed, error) {
	return h.observer.Observe(ctx, pod, podIPs)
}

// Do implements podworker.Host.
func (h host) Do(ctx context.Context, pod *corev1.Pod, a podworker.Action) (podworker.Result, error) {
	result, err := h.steps.Do(ctx, pod, a)
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).V(1).Info("Step failed", "Pod", klog.KObj(pod), "step", a.Kind, "container", a.Container, "reason", err)
	}
	return result, err
}

// Hurry implements podworker.Host.
func (h host) Hurry(a podworker.Action) { h.steps.Hurry(a) }

// Record implements podworker.Host.
func (h host) Record(pod *corev1.Pod, e podworker.Event) {
	h.record(pod, e.Container, e.Type, e.Reason, e.Message)
}

// Report implements podworker.Host: it writes the status, and deletes a pod
// that the API wants gone and of which nothing is left.
func (h host) Report(_ context.Context, pod *corev1.Pod, o podworker.Observed, s *podworker.State, removed bool) {
	if removed {
		return
	}
	latest := h.writer.Latest(pod)
	// The API may have a newer spec already, of which nothing is decided yet.
	seen := *pod
	seen.Status = latest.Status
	st := status.Generate(status.Input{
		Pod: &seen, Observed: o, State: s, HostIPs: h.hostIPs(), TerminationMessage: h.observer.TerminationMessage,
		RuntimeName: h.runtimeName(), Now: h.cfg.Clock.Now(),
	})
	h.writer.Set(latest, st, pod.DeletionTimestamp != nil && s.Ended())
}

// Gone implements podworker.Host.
func (h host) Gone(pod *corev1.Pod) {
	h.mu.Lock()
	w := h.workers[pod.UID]
	delete(h.workers, pod.UID)
	delete(h.wishes, pod.UID)
	h.mu.Unlock()
	if w != nil {
		w.Close()
	}
	h.writer.Forget(pod.UID)
	if h.policies != nil {
		h.policies.forget(pod)
	}
	if err := h.allocations.Release(pod.UID); err != nil {
		klog.FromContext(h.ctx).Error(err, "Forgetting pod", "Pod", klog.KObj(pod))
	}
	h.grantWishes()
}

// record sends an event of a pod or of one of its containers.
func (a *Agent) record(pod *corev1.Pod, container, eventType, reason, message string) {
	if pod.Name == "" {
		return // all that is known of it is its UID
	}
	ref := &corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion,
	}
	if container != "" {
		ref.FieldPath = fieldPath(pod, container)
	}
	a.events.Event(ref, eventType, reason, message)
}

// fieldPath names a container in events.
func fieldPath(pod *corev1.Pod, name string) string {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return fmt.Sprintf("spec.initContainers{%s}", name)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return fmt.Sprintf("spec.ephemeralContainers{%s}", name)
		}
	}
	return fmt.Sprintf("spec.containers{%s}", name)
}

// eventSink writes events; it ends with the agent.
type eventSink struct {
	ctx    context.Context //nolint:containedctx // The interface has no contexts.
	client corev1client.EventsGetter
}

func (s *eventSink) Create(e *corev1.Event) (*corev1.Event, error) {
	return s.sent(s.client.Events(e.Namespace).CreateWithEventNamespaceWithContext(s.ctx, e))
}

func (s *eventSink) Update(e *corev1.Event) (*corev1.Event, error) {
	return s.sent(s.client.Events(e.Namespace).UpdateWithEventNamespaceWithContext(s.ctx, e))
}

func (s *eventSink) Patch(e *corev1.Event, data []byte) (*corev1.Event, error) {
	return s.sent(s.client.Events(e.Namespace).PatchWithEventNamespaceWithContext(s.ctx, e, data))
}

// sent drops the events that are left when the agent ends: the recorder would
// report each as an error of its own.
func (s *eventSink) sent(e *corev1.Event, err error) (*corev1.Event, error) {
	if s.ctx.Err() != nil {
		return e, nil //nolint:nilerr // nobody is left to tell
	}
	return e, err
}

// execer runs the commands of probes and hooks.
type execer struct{ runtime.Runtime }

// ExecProbe implements probe.Execer.
func (e execer) ExecProbe(ctx context.Context, id string, command []string) (int, []byte, error) {
	out := &syncWriter{}
	code, err := e.Exec(ctx, id, runtime.Exec{Command: command, Streams: runtime.Streams{Stdout: out, Stderr: out}})
	return code, out.bytes(), err
}

func serverPort(addr string) int32 {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(port) // our own listener's
	return int32(n)
}
