package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/plugins/schedulinggates"
)

// report tells users why a pod has no node: a condition and an event with the
// same text. A nominated node that is not nil is written as well; an empty one
// clears it.
func (s *Scheduler) report(ctx context.Context, p *cache.Pod, reason, message string, nominated *string) {
	s.event(p, corev1.EventTypeWarning, "FailedScheduling", "Scheduling", message)
	s.statuses.write(ctx, p, update{
		condition: &corev1.PodCondition{
			Type:    corev1.PodScheduled,
			Status:  corev1.ConditionFalse,
			Reason:  reason,
			Message: message,
		},
		nominated: nominated,
	})
}

// noteGates writes the condition of a gated pod unless the API server has set
// it already, which it does on creation.
func (s *Scheduler) noteGates(p *cache.Pod) {
	if !schedulinggates.Gated(p.Pod) || conditionOf(p.Pod, corev1.PodScheduled) != nil {
		return
	}
	s.statuses.write(context.Background(), p, update{condition: &corev1.PodCondition{
		Type:    corev1.PodScheduled,
		Status:  corev1.ConditionFalse,
		Reason:  corev1.PodReasonSchedulingGated,
		Message: schedulinggates.Message,
	}})
}

// maxNote is the longest note that an Event may have, in bytes.
const maxNote = 1024

func (s *Scheduler) event(p *cache.Pod, kind, reason, action, note string) {
	if len(note) > maxNote {
		const more = " ..."
		note = note[:maxNote-len(more)] + more
	}
	s.events.Eventf(p.Pod, nil, kind, reason, action, "%s", note)
}

// update is a change of a pod's status.
type update struct {
	condition *corev1.PodCondition
	nominated *string
}

// statuses writes the status of pods beside the loop. Of two updates of one
// pod that wait, the later counts, and they are never written out of order.
type statuses struct {
	s       *Scheduler
	mu      sync.Mutex
	waiting map[types.UID]*update // nil value: one is being written, none waits
	last    map[types.UID]corev1.PodCondition
}

func newStatuses(s *Scheduler) *statuses {
	return &statuses{s: s, waiting: map[types.UID]*update{}, last: map[types.UID]corev1.PodCondition{}}
}

// write sees to it that the update is written, unless the pod has it already.
func (st *statuses) write(ctx context.Context, p *cache.Pod, u update) {
	st.mu.Lock()
	defer st.mu.Unlock()
	pending, busy := st.waiting[p.UID]
	if !busy && st.has(p, u) {
		return
	}
	if pending != nil && u.nominated == nil {
		u.nominated = pending.nominated
	}
	if u.condition != nil {
		st.last[p.UID] = *u.condition
	}
	st.waiting[p.UID] = &u
	if !busy {
		st.s.later(func() { st.writeAll(ctx, p) })
	}
}

// has tells whether the pod's status says this already, by the watch or by our
// own last write, which the watch may not show yet.
func (st *statuses) has(p *cache.Pod, u update) bool {
	if u.nominated != nil && *u.nominated != p.Status.NominatedNodeName {
		return false
	}
	if u.condition == nil {
		return true
	}
	if last, ok := st.last[p.UID]; ok {
		return same(&last, u.condition)
	}
	c := conditionOf(p.Pod, u.condition.Type)
	return c != nil && same(c, u.condition)
}

func same(a, b *corev1.PodCondition) bool {
	return a.Status == b.Status && a.Reason == b.Reason && a.Message == b.Message
}

func (st *statuses) forget(uid types.UID) {
	st.mu.Lock()
	defer st.mu.Unlock()
	delete(st.last, uid)
}

// writeAll writes until nothing waits for the pod.
func (st *statuses) writeAll(ctx context.Context, p *cache.Pod) {
	for {
		st.mu.Lock()
		u := st.waiting[p.UID]
		if u == nil {
			delete(st.waiting, p.UID)
			st.mu.Unlock()
			return
		}
		st.waiting[p.UID] = nil
		st.mu.Unlock()
		if err := st.s.patchStatus(ctx, p.Pod, *u); err != nil {
			st.forget(p.UID)
			if ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				klog.FromContext(ctx).Error(err, "Status of the pod could not be written", "pod", klog.KObj(p.Pod))
			}
		}
	}
}

// patchStatus writes one update. The uid makes it fail for another pod of the
// same name.
func (s *Scheduler) patchStatus(ctx context.Context, pod *corev1.Pod, u update) error {
	patch, err := json.Marshal(statusPatch(pod, u, s.cfg.Clock.Now()))
	if err != nil {
		return fmt.Errorf("patch status of pod %s: %w", klog.KObj(pod), err)
	}
	if _, err := s.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{}, "status"); err != nil {
		return fmt.Errorf("patch status of pod %s: %w", klog.KObj(pod), err)
	}
	return nil
}

func statusPatch(pod *corev1.Pod, u update, now time.Time) map[string]any {
	status := map[string]any{}
	if u.condition != nil {
		c := *u.condition
		c.ObservedGeneration = pod.Generation
		c.LastTransitionTime = metav1.NewTime(now)
		if old := conditionOf(pod, c.Type); old != nil && old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		status["conditions"] = []corev1.PodCondition{c}
	}
	if u.nominated != nil {
		status["nominatedNodeName"] = nil
		if *u.nominated != "" {
			status["nominatedNodeName"] = *u.nominated
		}
	}
	return map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status}
}

func conditionOf(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}
