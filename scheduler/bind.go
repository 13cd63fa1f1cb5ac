package scheduler

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/scheduler/plugins"
	"github.com/skiffcluster/skiff/scheduler/plugins/volumebinding"
	"github.com/skiffcluster/skiff/scheduler/queue"
)

// bind writes the decision: first the volumes, then the Binding.
func (s *Scheduler) bind(ctx context.Context, item *queue.Item, node string, plan []volumebinding.Binding) error {
	p := item.Pod
	if err := s.bindVolumes(ctx, plan, node); err != nil {
		return fmt.Errorf("running PreBind plugin %q: %w", volumebinding.Name, err)
	}
	// The uid makes the API server refuse when the pod was deleted and made
	// anew under the same name; that a pod is bound only once it sees to itself.
	err := s.client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("running Bind plugin %q: %w", "DefaultBinder", err)
	}
	s.event(p, corev1.EventTypeNormal, "Scheduled", "Binding",
		fmt.Sprintf("Successfully assigned %s to %s", p.Key, node))
	return nil
}

// unbound takes the decision back after a bind failed. The pod is tried again
// unless it is gone or somebody else has bound it.
func (s *Scheduler) unbound(ctx context.Context, item *queue.Item, err error) {
	p := item.Pod
	s.cache.Forget(p.UID)
	s.queue.Event(plugins.Event{Kind: plugins.PodRemoved, Pod: p})
	latest := s.sources.pod(p.Pod)
	if latest == nil || latest.Spec.NodeName != "" {
		return
	}
	// Whoever loses the lead meanwhile may have it again, and nobody tells of the
	// pod a second time.
	item.Pod = s.parse(latest)
	s.queue.RequeueError(item)
	// The watch may have removed or placed the pod between the look above and
	// the requeue, and then found nothing to take out of the queue.
	if latest = s.sources.pod(p.Pod); latest == nil || latest.Spec.NodeName != "" {
		s.queue.Delete(p.UID)
		return
	}
	if ctx.Err() != nil {
		return
	}
	klog.FromContext(ctx).Error(err, "Pod could not be bound", "pod", klog.KObj(p.Pod))
	s.report(ctx, p, corev1.PodReasonSchedulerError, err.Error(), nil)
}
