package daemonset

import (
	"cmp"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// burst is the most pods that one turn creates or deletes, upstream's number.
// What is left is done in the next turn.
const burst = 250

// view is what a plan is made from.
type view struct {
	ds    *appsv1.DaemonSet
	nodes []*corev1.Node
	hash  string // of the present template
	now   time.Time

	byNode map[string][]*corev1.Pod // the pods on a node, or meant for it, the oldest first
	places map[string]placement     // of each node
}

func newView(ds *appsv1.DaemonSet, nodes []*corev1.Node, pods []*corev1.Pod, hash string, now time.Time) *view {
	v := &view{ds: ds, hash: hash, now: now, byNode: map[string][]*corev1.Pod{}, places: map[string]placement{}}
	v.nodes = slices.SortedFunc(slices.Values(nodes), func(a, b *corev1.Node) int { return cmp.Compare(a.Name, b.Name) })
	for _, pod := range pods {
		// One that has ended and only waits for a finalizer keeps none from its place.
		if !podctl.HasEnded(pod) || pod.DeletionTimestamp == nil {
			v.byNode[nodeOf(pod)] = append(v.byNode[nodeOf(pod)], pod)
		}
	}
	for _, list := range v.byNode {
		slices.SortFunc(list, func(a, b *corev1.Pod) int {
			return cmp.Or(cmp.Compare(asInt(a.Spec.NodeName == ""), asInt(b.Spec.NodeName == "")),
				a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
	}
	for _, node := range nodes {
		v.places[node.Name] = place(ds, node)
	}
	return v
}

func asInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (v *view) isNew(pod *corev1.Pod) bool { return pod.Labels[hashLabel] == v.hash }

func (v *view) isAvailable(pod *corev1.Pod) bool {
	return podctl.IsAvailable(pod, v.ds.Spec.MinReadySeconds, v.now)
}

// podsPlan is what to do about a DaemonSet's pods.
type podsPlan struct {
	create []string // the nodes to create one for
	remove []*corev1.Pod

	// ended are those of remove that have failed or succeeded.
	ended []*corev1.Pod
}

func (p podsPlan) isEmpty() bool { return len(p.create)+len(p.remove) == 0 }

// planPods gives every node that wants one a pod, and takes away pods that have
// ended, that are one too many on their node or that should not be there.
func planPods(v *view) podsPlan {
	var plan podsPlan
	for _, node := range v.nodes {
		pods := v.byNode[node.Name]
		switch place := v.places[node.Name]; {
		case place.run && len(pods) == 0:
			plan.create = append(plan.create, node.Name)
		case place.stay:
			plan.tidy(v, pods)
		default:
			for _, pod := range pods {
				if pod.DeletionTimestamp == nil {
					plan.remove = append(plan.remove, pod)
				}
			}
		}
	}
	// Pods that wait for a node that no longer exists; those that were on it
	// are the pod garbage collector's.
	for node, pods := range v.byNode {
		if _, exists := v.places[node]; exists || node == "" {
			continue
		}
		for _, pod := range pods {
			if pod.Spec.NodeName == "" && pod.DeletionTimestamp == nil {
				plan.remove = append(plan.remove, pod)
			}
		}
	}
	plan.create = plan.create[:min(len(plan.create), burst)]
	plan.remove = plan.remove[:min(len(plan.remove), burst)]
	return plan
}

// tidy removes from one node the pods that have ended and all others but the
// oldest; with surge, but the oldest of the present template and the oldest of
// an old one, which goes once the former is available.
func (p *podsPlan) tidy(v *view, pods []*corev1.Pod) {
	surge, _ := limits(v)
	var current, old *corev1.Pod
	for _, pod := range pods {
		switch {
		case pod.DeletionTimestamp != nil:
		case podctl.HasEnded(pod):
			p.remove = append(p.remove, pod)
			p.ended = append(p.ended, pod)
		case surge > 0 && v.isNew(pod) && current == nil:
			current = pod
		case (surge == 0 || !v.isNew(pod)) && old == nil:
			old = pod // without surge this is the one that stays
		default:
			p.remove = append(p.remove, pod)
		}
	}
	if current != nil && old != nil && v.isAvailable(current) {
		p.remove = append(p.remove, old)
	}
}

// planRolling replaces pods of an old template, if nothing else is to be done:
// by deleting them, as many as maxUnavailable lets be missing at a time, or
// with maxSurge by creating new ones beside them. An old pod that is not
// available is replaced in any case, since nothing is lost with it.
func planRolling(v *view) podsPlan {
	if v.ds.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
		return podsPlan{}
	}
	surge, unavailable := limits(v)
	if surge > 0 {
		return planSurge(v, surge)
	}
	missing := 0
	var free, candidates []*corev1.Pod
	for _, node := range v.nodes {
		if !v.places[node.Name].run && len(v.byNode[node.Name]) == 0 {
			continue
		}
		current, old := v.split(node.Name)
		switch {
		case len(current)+len(old) != 1: // on its way
			missing++
		case len(current) == 1:
			if !v.isAvailable(current[0]) {
				missing++
			}
		case !v.isAvailable(old[0]):
			free = append(free, old[0])
		default:
			candidates = append(candidates, old[0])
		}
	}
	room := max(0, unavailable-missing)
	return podsPlan{remove: append(free, candidates[:min(room, len(candidates))]...)}
}

func planSurge(v *view, surge int) podsPlan {
	starting := 0
	var plan podsPlan
	var candidates []string
	for _, node := range v.nodes {
		current, old := v.split(node.Name)
		switch {
		case !v.places[node.Name].run || len(old) == 0:
		case len(current) == 0 && !v.isAvailable(old[0]):
			plan.create = append(plan.create, node.Name)
		case len(current) == 0:
			candidates = append(candidates, node.Name)
		case !v.isAvailable(current[0]):
			starting++
		}
	}
	room := max(0, surge-starting)
	plan.create = append(plan.create, candidates[:min(room, len(candidates))]...)
	return plan
}

// split returns a node's pods of the present template and of old ones, without
// those that are being deleted.
func (v *view) split(node string) (current, old []*corev1.Pod) {
	for _, pod := range v.byNode[node] {
		switch {
		case pod.DeletionTimestamp != nil:
		case v.isNew(pod):
			current = append(current, pod)
		default:
			old = append(old, pod)
		}
	}
	return current, old
}

// limits are maxSurge and maxUnavailable as numbers; percentages are of the
// nodes that want a pod, rounded up. They are not both zero.
func limits(v *view) (surge, unavailable int) {
	rolling := v.ds.Spec.UpdateStrategy.RollingUpdate
	if v.ds.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType || rolling == nil {
		return 0, 1
	}
	desired := 0
	for _, place := range v.places {
		desired += asInt(place.run)
	}
	surge = scaled(rolling.MaxSurge, 0, desired)
	unavailable = scaled(rolling.MaxUnavailable, 1, desired)
	if surge == 0 {
		unavailable = max(1, unavailable)
	}
	return surge, unavailable
}

func scaled(limit *intstr.IntOrString, byDefault, whole int) int {
	value := ptr.Deref(limit, intstr.FromInt(byDefault))
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, whole, true)
	if err != nil { // the server admits no such limit
		return byDefault
	}
	return n
}

// planStatus says what the status should be, but for the collisions, and how
// long it is until the next pod becomes available (0: none will).
func planStatus(v *view) (status appsv1.DaemonSetStatus, wait time.Duration) {
	status.ObservedGeneration = v.ds.Generation
	status.CollisionCount = v.ds.Status.CollisionCount
	status.Conditions = v.ds.Status.Conditions
	for _, node := range v.nodes {
		pods := v.byNode[node.Name]
		if !v.places[node.Name].run {
			status.NumberMisscheduled += int32(min(len(pods), 1))
			continue
		}
		status.DesiredNumberScheduled++
		if len(pods) == 0 {
			continue
		}
		status.CurrentNumberScheduled++
		oldest := pods[0]
		if left, ready := podctl.AvailableIn(oldest, v.ds.Spec.MinReadySeconds, v.now); ready {
			status.NumberReady++
			if left == 0 {
				status.NumberAvailable++
			} else if wait == 0 || left < wait {
				wait = left
			}
		}
		if v.isNew(oldest) {
			status.UpdatedNumberScheduled++
		}
	}
	// A pod that surges may become available too, and end its predecessor.
	for _, pods := range v.byNode {
		for _, pod := range pods {
			if left, ready := podctl.AvailableIn(pod, v.ds.Spec.MinReadySeconds, v.now); ready && left > 0 && (wait == 0 || left < wait) {
				wait = left
			}
		}
	}
	status.NumberUnavailable = status.DesiredNumberScheduled - status.NumberAvailable
	return status, wait
}
