package nodeagent

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/nodeagent/allocation"
	"github.com/skiffcluster/skiff/nodeagent/podworker"
)

// allocate gives a pod as it is to run: as its spec asks if there is room for
// that, else as it was allocated. a.mu is held.
func (a *Agent) allocate(w *podworker.Worker, pod *corev1.Pod) *corev1.Pod {
	if w.Rejected() {
		return pod
	}
	if !a.allocations.Has(pod.UID) {
		if err := a.allocations.Allocate(pod); err != nil {
			klog.FromContext(a.ctx).Error(err, "Allocating resources", "Pod", klog.KObj(pod))
		}
		return pod
	}
	allocated, differs := a.allocations.Apply(pod)
	if !differs || pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		delete(a.wishes, pod.UID)
		w.SetPending(nil)
		return allocated
	}
	a.wishes[pod.UID] = pod
	a.grant()
	allocated, _ = a.allocations.Apply(pod)
	return allocated
}

// grantWishes looks whether there is room now for those that wait for it.
func (a *Agent) grantWishes() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.grant()
}

// grant allocates what pods ask for and the node has, and says to the others why
// they wait. Before all pods of the node are known, none gets more. a.mu is held.
func (a *Agent) grant() {
	select {
	case <-a.synced:
	default:
		return
	}
	if len(a.wishes) == 0 {
		return
	}
	var wishes []allocation.Wish
	for _, pod := range a.wishes {
		allocated, _ := a.allocations.Apply(pod)
		wish := allocation.Wish{Pod: pod, Allocated: allocated}
		for _, c := range pod.Status.Conditions {
			if c.Type == corev1.PodResizePending {
				wish.Since = c.LastTransitionTime.Time
			}
		}
		wishes = append(wishes, wish)
	}
	allocation.Order(wishes)
	for i := range wishes {
		pod := wishes[i].Pod
		w := a.workers[pod.UID]
		if w == nil {
			delete(a.wishes, pod.UID)
			continue
		}
		if why := planResize(&wishes[i], a.activePods(), a.allocatable); why != nil {
			if w.SetPending(why) {
				a.recordPending(pod, why)
			}
			continue
		}
		if err := a.allocations.Allocate(pod); err != nil {
			klog.FromContext(a.ctx).Error(err, "Allocating resources", "Pod", klog.KObj(pod))
			continue
		}
		delete(a.wishes, pod.UID)
		w.Resized(pod)
		a.record(pod, "", corev1.EventTypeNormal, podworker.ResizeStarted, podworker.ResizeMessage("started", pod, pod.Generation, ""))
	}
}

func (a *Agent) recordPending(pod *corev1.Pod, why *podworker.Resize) {
	reason := podworker.ResizeDeferred
	if why.Reason == corev1.PodReasonInfeasible {
		reason = podworker.ResizeInfeasible
	}
	a.record(pod, "", corev1.EventTypeWarning, reason, podworker.ResizeMessage(why.Reason, pod, why.Generation, why.Message))
}

// planResize decides whether the node has room for what a pod asks for; nil is
// yes. What it never has is infeasible, what others use by now is deferred. Who
// asks for no more than it has always gets it.
func planResize(wish *allocation.Wish, active []*corev1.Pod, allocatable corev1.ResourceList) *podworker.Resize {
	if !wish.Grows() {
		return nil
	}
	pod := wish.Pod
	wait := func(reason, format string, args ...any) *podworker.Resize {
		return &podworker.Resize{Reason: reason, Message: fmt.Sprintf(format, args...), Generation: pod.Generation}
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		if wanted, capacity := units(name, requests[name]), units(name, allocatable[name]); wanted > capacity {
			return wait(corev1.PodReasonInfeasible, "Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, wanted, capacity)
		}
	}
	var others []*corev1.Pod
	for _, o := range active {
		if o.UID != pod.UID {
			others = append(others, o)
		}
	}
	if name, wanted, used, capacity := lacks(pod, others, allocatable); name != "" {
		return wait(corev1.PodReasonDeferred, "Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, wanted, used, capacity)
	}
	return nil
}
