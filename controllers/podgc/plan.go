package podgc

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// quarantine is how long a node must be missing before its pods are deleted:
// nodes come back under the same name (upstream's number).
const quarantine = 40 * time.Second

// removal is a pod to delete, and the condition that tells why, if any.
type removal struct {
	pod       *corev1.Pod
	condition *corev1.PodCondition
}

// missing remembers since when nodes that pods name do not exist.
type missing map[string]time.Time

// observe updates the record and returns the nodes whose quarantine is over.
func (m missing) observe(pods []*corev1.Pod, nodes map[string]*corev1.Node, now time.Time) []string {
	named := map[string]bool{}
	for _, pod := range pods {
		name := pod.Spec.NodeName
		if name == "" || nodes[name] != nil || named[name] {
			continue
		}
		named[name] = true
		if _, known := m[name]; !known {
			m[name] = now
		}
	}
	var over []string
	for name, since := range m {
		if !named[name] {
			delete(m, name) // the node is back, or its last pod is gone
		} else if now.Sub(since) >= quarantine {
			over = append(over, name)
		}
	}
	slices.Sort(over)
	return over
}

// plan returns the pods to delete. gone names the nodes that certainly do not
// exist; threshold is how many terminated pods may stay, and none is deleted
// for their number when it is zero or less.
func plan(pods []*corev1.Pod, nodes map[string]*corev1.Node, gone map[string]bool, threshold int) []removal {
	var removals []removal
	var terminated []*corev1.Pod
	for _, pod := range pods {
		node := nodes[pod.Spec.NodeName]
		switch {
		case gone[pod.Spec.NodeName]:
			removals = append(removals, removal{pod, &corev1.PodCondition{
				Type:    corev1.DisruptionTarget,
				Status:  corev1.ConditionTrue,
				Reason:  "DeletionByPodGC",
				Message: "PodGC: node no longer exists",
			}})
		case pod.DeletionTimestamp != nil && pod.Spec.NodeName == "",
			pod.DeletionTimestamp != nil && node != nil && !isReady(node) && isOutOfService(node):
			removals = append(removals, removal{pod: pod})
		case isTerminated(pod):
			terminated = append(terminated, pod)
		}
	}
	if excess := len(terminated) - threshold; threshold > 0 && excess > 0 {
		slices.SortFunc(terminated, firstToGo)
		for _, pod := range terminated[:excess] {
			removals = append(removals, removal{pod: pod})
		}
	}
	return removals
}

// firstToGo sorts evicted pods first, which no controller keeps for its own
// counting, then the oldest.
func firstToGo(a, b *corev1.Pod) int {
	if isEvicted(a) != isEvicted(b) {
		if isEvicted(a) {
			return -1
		}
		return 1
	}
	return cmp.Or(
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		strings.Compare(a.Name, b.Name),
	)
}

func isEvicted(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == "Evicted"
}

func isTerminated(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func isOutOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == corev1.TaintNodeOutOfService })
}
