package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/cycle"
	"github.com/skiffcluster/skiff/scheduler/queue"
)

// loop schedules one pod after the other until ctx ends.
func (s *Scheduler) loop(ctx context.Context) {
	for {
		item := s.queue.Pop(ctx)
		if item == nil {
			return
		}
		s.schedule(ctx, item)
	}
}

// schedule decides for one pod and sets off what follows.
func (s *Scheduler) schedule(ctx context.Context, item *queue.Item) {
	p := item.Pod
	if p.DeletionTimestamp != nil {
		s.queue.Done(item)
		s.event(p, corev1.EventTypeWarning, "FailedScheduling", "Scheduling",
			fmt.Sprintf("skip schedule deleting pod: %s", p.Key))
		return
	}
	start := time.Now()
	result, err := s.cycle.Schedule(p)
	if err == nil {
		if err = s.cache.Assume(p, result.Node); errors.Is(err, cache.ErrAssumed) {
			s.queue.Done(item) // bound meanwhile
			return
		}
	}
	if err != nil {
		s.failed(ctx, item, err)
		s.metrics.attempt(err, time.Since(start))
		return
	}
	s.promised.Remove(p.UID)
	plan, err := s.reserve(p, result.Node)
	if err != nil {
		s.cache.Forget(p.UID)
		s.failed(ctx, item, err)
		s.metrics.attempt(err, time.Since(start))
		return
	}
	s.queue.Done(item)
	s.aside(func() {
		err := s.bind(ctx, item, result.Node, plan)
		s.release(plan)
		if err != nil {
			s.unbound(ctx, item, err)
		}
		s.metrics.attempt(err, time.Since(start))
		if err == nil {
			s.metrics.scheduled(item, s.cfg.Clock.Since(item.Added))
		}
	})
}

// failed handles a pod for which no node was found.
func (s *Scheduler) failed(ctx context.Context, item *queue.Item, err error) {
	p := item.Pod
	latest := s.sources.pod(p.Pod)
	if latest == nil || latest.Spec.NodeName != "" {
		s.queue.Done(item) // deleted, or bound by somebody else
		return
	}
	var unfit *cycle.Unfit
	switch {
	case errors.As(err, &unfit):
		nominated := s.preempt(ctx, p, unfit)
		// The promise stands before the pod can be taken up again.
		s.queue.Requeue(item, unfit.Rules)
		s.report(ctx, p, corev1.PodReasonUnschedulable, err.Error(), nominated)
	case errors.Is(err, cycle.ErrNoNodes):
		s.queue.Requeue(item, []string{queue.NoNodes})
		s.report(ctx, p, corev1.PodReasonUnschedulable, err.Error(), nil)
	default:
		klog.FromContext(ctx).Error(err, "Pod could not be scheduled", "pod", klog.KObj(p.Pod))
		s.queue.RequeueError(item)
		s.report(ctx, p, corev1.PodReasonSchedulerError, err.Error(), nil)
	}
}
