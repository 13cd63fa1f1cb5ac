package statefulset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// revision is a pod template and the name of the ControllerRevision it is from.
type revision struct {
	name     string
	template *corev1.PodTemplateSpec
}

// view is what a plan is made from.
type view struct {
	set             *appsv1.StatefulSet
	ref             metav1.OwnerReference
	current, update revision // the same unless an update is on its way
	now             time.Time

	slots     []*corev1.Pod // from the first ordinal on; nil: no pod yet
	condemned []*corev1.Pod // the highest ordinal first
}

func newView(set *appsv1.StatefulSet, ref metav1.OwnerReference, current, update revision, pods []*corev1.Pod, now time.Time) *view {
	v := &view{set: set, ref: ref, current: current, update: update, now: now}
	v.slots = make([]*corev1.Pod, ptr.Deref(set.Spec.Replicas, 1))
	for _, pod := range pods {
		ordinal, ok := ordinalOf(set, pod)
		at := ordinal - v.start()
		switch {
		case !ok:
		case at >= 0 && at < len(v.slots):
			v.slots[at] = pod
		default:
			v.condemned = append(v.condemned, pod)
		}
	}
	slices.SortFunc(v.condemned, func(a, b *corev1.Pod) int {
		ordinalA, _ := ordinalOf(set, a)
		ordinalB, _ := ordinalOf(set, b)
		return cmp.Compare(ordinalB, ordinalA)
	})
	return v
}

// start is the first ordinal.
func (v *view) start() int {
	if v.set.Spec.Ordinals == nil {
		return 0
	}
	return int(v.set.Spec.Ordinals.Start)
}

func (v *view) isOrdered() bool {
	return v.set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// isHealthy tells whether a pod runs, is available and is not being deleted.
func (v *view) isHealthy(pod *corev1.Pod) bool {
	return pod != nil && pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodRunning &&
		podctl.IsAvailable(pod, v.set.Spec.MinReadySeconds, v.now)
}

// partition is the number of slots, from the first on, that keep the current
// template while an update is on its way.
func (v *view) partition() int {
	if rolling := v.set.Spec.UpdateStrategy.RollingUpdate; rolling != nil {
		return int(ptr.Deref(rolling.Partition, 0))
	}
	return 0
}

// newPod returns the pod for a slot.
func (v *view) newPod(slot int) *corev1.Pod {
	from := v.update
	if v.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && slot < v.partition() {
		from = v.current
	}
	return newPod(v.set, v.ref, from.template, from.name, v.start()+slot)
}

// podsPlan is what to do about a set's pods.
type podsPlan struct {
	create []*corev1.Pod
	remove []*corev1.Pod
}

// planPods is the next step towards spec.replicas pods of the right template.
func planPods(v *view) podsPlan {
	plan, settled := planSlots(v)
	if !settled {
		return plan
	}
	condemned, settled := planCondemned(v)
	plan.remove = append(plan.remove, condemned...)
	if settled {
		plan.remove = append(plan.remove, planUpdate(v)...)
	}
	return plan
}

// planSlots fills the slots from the first on. Pods that have ended make room
// for others. If order is asked for, every slot waits for those before it;
// settled tells that none has to wait.
func planSlots(v *view) (plan podsPlan, settled bool) {
	for slot, pod := range v.slots {
		switch {
		case pod == nil:
			plan.create = append(plan.create, v.newPod(slot))
		case podctl.HasEnded(pod) && pod.DeletionTimestamp == nil:
			plan.remove = append(plan.remove, pod)
		case v.isHealthy(pod):
			continue
		}
		if v.isOrdered() {
			return plan, false
		}
	}
	return plan, true
}

// planCondemned deletes the pods of ordinals too many from the last on: if order
// is asked for one at a time, and a pod that is not healthy stops it unless
// that is the first such pod, which would never let it go on.
func planCondemned(v *view) (remove []*corev1.Pod, settled bool) {
	firstBroken := v.firstBroken()
	for _, pod := range v.condemned {
		switch {
		case pod.DeletionTimestamp != nil:
			if v.isOrdered() {
				return nil, false
			}
		case !v.isOrdered():
			remove = append(remove, pod)
		case v.isHealthy(pod) || pod == firstBroken:
			return []*corev1.Pod{pod}, false
		default:
			return nil, false
		}
	}
	return remove, true
}

// firstBroken is the pod of the lowest ordinal that is not healthy, or nil.
func (v *view) firstBroken() *corev1.Pod {
	for _, pod := range v.slots {
		if pod != nil && !v.isHealthy(pod) {
			return pod
		}
	}
	for _, pod := range slices.Backward(v.condemned) {
		if !v.isHealthy(pod) {
			return pod
		}
	}
	return nil
}

// planUpdate deletes pods of an old template from the last slot down to the
// partition, as many as may be unavailable at a time (by default one). Those
// that are updated and not yet available count.
func planUpdate(v *view) []*corev1.Pod {
	if v.set.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return nil
	}
	var remove []*corev1.Pod
	room := v.maxUnavailable()
	for slot := len(v.slots) - 1; slot >= v.partition() && room > 0; slot-- {
		pod := v.slots[slot]
		switch {
		case pod != nil && pod.Labels[hashLabel] != v.update.name && pod.DeletionTimestamp == nil:
			if !podctl.HasEnded(pod) { // that one is being replaced already
				remove = append(remove, pod)
			}
			room--
		case !v.isHealthy(pod):
			room--
		}
	}
	return remove
}

// maxUnavailable is how many pods an update may take away at a time; a
// percentage is of spec.replicas, rounded down, but at least one.
func (v *view) maxUnavailable() int {
	rolling := v.set.Spec.UpdateStrategy.RollingUpdate
	if rolling == nil || rolling.MaxUnavailable == nil {
		return 1
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(rolling.MaxUnavailable, len(v.slots), false)
	if err != nil { // the server admits no such limit
		return 1
	}
	return max(1, n)
}

// planStatus says what the status should be, and how long it is until the next
// pod becomes available (0: none will).
func planStatus(v *view) (status appsv1.StatefulSetStatus, wait time.Duration) {
	status = appsv1.StatefulSetStatus{
		ObservedGeneration: v.set.Generation,
		CurrentRevision:    v.current.name,
		UpdateRevision:     v.update.name,
		CollisionCount:     ptr.To(ptr.Deref(v.set.Status.CollisionCount, 0)),
		Conditions:         v.set.Status.Conditions,
	}
	for _, pod := range slices.Concat(v.slots, v.condemned) {
		if pod == nil {
			continue
		}
		status.Replicas++
		if left, ready := podctl.AvailableIn(pod, v.set.Spec.MinReadySeconds, v.now); ready && pod.Status.Phase == corev1.PodRunning {
			status.ReadyReplicas++
			if left == 0 {
				status.AvailableReplicas++
			} else if wait == 0 || left < wait {
				wait = left
			}
		}
		if pod.DeletionTimestamp != nil {
			continue
		}
		if pod.Labels[hashLabel] == v.current.name {
			status.CurrentReplicas++
		}
		if pod.Labels[hashLabel] == v.update.name {
			status.UpdatedReplicas++
		}
	}
	want := int32(len(v.slots))
	if v.set.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType &&
		status.Replicas == want && status.UpdatedReplicas == want && status.ReadyReplicas == want {
		status.CurrentReplicas, status.CurrentRevision = status.UpdatedReplicas, status.UpdateRevision
	}
	return status, wait
}
