package node

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// conditionTaints has the taint that stands for a condition in a status
// (https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/#taint-nodes-by-condition).
var conditionTaints = map[corev1.NodeConditionType]map[corev1.ConditionStatus]string{
	corev1.NodeReady: {
		corev1.ConditionFalse:   corev1.TaintNodeNotReady,
		corev1.ConditionUnknown: corev1.TaintNodeUnreachable,
	},
	corev1.NodeMemoryPressure:     {corev1.ConditionTrue: corev1.TaintNodeMemoryPressure},
	corev1.NodeDiskPressure:       {corev1.ConditionTrue: corev1.TaintNodeDiskPressure},
	corev1.NodePIDPressure:        {corev1.ConditionTrue: corev1.TaintNodePIDPressure},
	corev1.NodeNetworkUnavailable: {corev1.ConditionTrue: corev1.TaintNodeNetworkUnavailable},
}

// noScheduleTaints are those that keep new pods away from a node in this state.
func noScheduleTaints(node *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	for i := range node.Status.Conditions {
		c := &node.Status.Conditions[i]
		if key := conditionTaints[c.Type][c.Status]; key != "" {
			taints = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	if node.Spec.Unschedulable {
		taints = append(taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	return taints
}

func isNoScheduleOfOurs(taint corev1.Taint) bool {
	if taint.Effect != corev1.TaintEffectNoSchedule {
		return false
	}
	if taint.Key == corev1.TaintNodeUnschedulable {
		return true
	}
	for _, keys := range conditionTaints {
		for _, key := range keys {
			if taint.Key == key {
				return true
			}
		}
	}
	return false
}

// noExecuteTaint is the one that drives pods off a node with this readiness; ok
// is false for a ready node, and for one that has not said anything yet.
func noExecuteTaint(readiness corev1.ConditionStatus) (taint corev1.Taint, ok bool) {
	key := conditionTaints[corev1.NodeReady][readiness]
	return corev1.Taint{Key: key, Effect: corev1.TaintEffectNoExecute}, key != ""
}

func isNoExecuteOfOurs(taint corev1.Taint) bool {
	return taint.Effect == corev1.TaintEffectNoExecute &&
		(taint.Key == corev1.TaintNodeNotReady || taint.Key == corev1.TaintNodeUnreachable)
}

func hasTaint(taints []corev1.Taint, taint corev1.Taint) bool {
	return slices.ContainsFunc(taints, func(t corev1.Taint) bool { return t.MatchTaint(&taint) })
}

// planTaints returns taints in which those that are ours are exactly wanted;
// changed is false when they are already. A taint that stays keeps the time it
// was added at.
func planTaints(taints []corev1.Taint, ours func(corev1.Taint) bool, wanted []corev1.Taint, now time.Time) (planned []corev1.Taint, changed bool) {
	for _, taint := range taints {
		if ours(taint) && !hasTaint(wanted, taint) {
			changed = true
			continue
		}
		planned = append(planned, taint)
	}
	for _, taint := range wanted {
		if !hasTaint(planned, taint) {
			taint.TimeAdded = &metav1.Time{Time: now}
			planned = append(planned, taint)
			changed = true
		}
	}
	return planned, changed
}

// planLabels returns the labels to set: the older names of operating system and
// architecture, which old selectors use, follow the newer.
func planLabels(labels map[string]string) map[string]string {
	missing := map[string]string{}
	for newer, older := range map[string]string{
		corev1.LabelOSStable:   "beta.kubernetes.io/os",
		corev1.LabelArchStable: "beta.kubernetes.io/arch",
	} {
		if value, ok := labels[newer]; ok && labels[older] != value {
			missing[older] = value
		}
	}
	return missing
}
