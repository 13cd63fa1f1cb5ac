package scheduler

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/cycle"
	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/plugins/preemption"
)

// preempt makes room for a pod if that is possible, and says what to write to
// its nominatedNodeName; nil leaves it alone.
func (s *Scheduler) preempt(ctx context.Context, p *cache.Pod, u *cycle.Unfit) *string {
	found, void := s.cycle.Preempt(p, u, s.sources.budgets())
	if found == nil {
		if void && s.promised.Remove(p.UID) != "" {
			s.queue.Event(plugins.Event{Kind: plugins.PodRemoved, Pod: p})
		}
		if void && p.Status.NominatedNodeName != "" {
			empty := ""
			return &empty
		}
		return nil
	}
	s.demote(ctx, p, found.Node)
	s.promised.Set(p, found.Node)
	s.metrics.preempted(len(found.Victims))
	klog.FromContext(ctx).Info("Pods are preempted", "pod", klog.KObj(p.Pod), "node", found.Node, "victims", len(found.Victims))
	s.later(func() { s.evict(ctx, p, found) })
	return &found.Node
}

// demote takes their promise from pods of lower priority: they would have to
// go as well.
func (s *Scheduler) demote(ctx context.Context, p *cache.Pod, node string) {
	empty := ""
	for _, q := range s.promised.On(node) {
		if q.Priority < p.Priority {
			s.promised.Remove(q.UID)
			s.statuses.write(ctx, q, update{nominated: &empty})
			s.queue.Wake(q.UID)
		}
	}
}

// evict removes the victims. If one stays, the promise is void and the pod is
// tried again.
func (s *Scheduler) evict(ctx context.Context, p *cache.Pod, c *preemption.Candidate) {
	var wg sync.WaitGroup
	var stays atomic.Bool
	for _, victim := range c.Victims {
		wg.Go(func() {
			if err := s.evictOne(ctx, p, victim, c.Node); err != nil {
				stays.Store(true)
				klog.FromContext(ctx).Error(err, "Victim could not be preempted", "pod", klog.KObj(p.Pod), "victim", klog.KObj(victim.Pod))
			}
		})
	}
	wg.Wait()
	if stays.Load() {
		s.promised.Remove(p.UID)
		s.queue.Wake(p.UID)
	}
}

func (s *Scheduler) evictOne(ctx context.Context, p, victim *cache.Pod, node string) error {
	err := s.patchStatus(ctx, victim.Pod, update{condition: &corev1.PodCondition{
		Type:    corev1.DisruptionTarget,
		Status:  corev1.ConditionTrue,
		Reason:  corev1.PodReasonPreemptionByScheduler,
		Message: fmt.Sprintf("%s: preempting to accommodate a higher priority pod", p.Spec.SchedulerName),
	}})
	if err == nil {
		err = s.client.CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &victim.UID},
		})
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone already
	}
	if err != nil {
		return fmt.Errorf("preempt pod %s: %w", victim.Key, err)
	}
	s.events.Eventf(victim.Pod, p.Pod, corev1.EventTypeNormal, "Preempted", "Preempting",
		"Preempted by pod %v on node %v", p.UID, node)
	return nil
}
