package node

import (
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// health is when a node last gave a sign of life, by our own clock: the clocks
// of nodes are not compared with it.
type health struct {
	probed    time.Time
	posted    bool              // it has had a Ready condition
	heartbeat metav1.Time       // Ready's, as last seen
	renewed   *metav1.MicroTime // the lease's, as last seen
}

// observe returns the health after a look at the node and its lease, which may
// be nil. before is nil at the first look.
func observe(before *health, node *corev1.Node, lease *coordinationv1.Lease, now time.Time) health {
	ready := condition(node, corev1.NodeReady)
	h := health{posted: ready != nil}
	if ready != nil {
		h.heartbeat = ready.LastHeartbeatTime
	}
	if lease != nil {
		h.renewed = lease.Spec.RenewTime
	}
	switch {
	case before == nil && ready == nil:
		// Nothing has been heard yet; it is given time since it was created.
		h.probed = node.CreationTimestamp.Time
	case before == nil, before.posted != h.posted, !before.heartbeat.Equal(&h.heartbeat):
		h.probed = now
	default:
		h.probed = before.probed
	}
	if h.renewed != nil && (before == nil || before.renewed == nil || before.renewed.Before(h.renewed)) {
		h.probed = now
	}
	return h
}

// silent tells whether nothing has been heard for too long. A node that has
// never posted a status has startupGrace.
func (h health) silent(now time.Time, grace, startupGrace time.Duration) bool {
	if !h.posted {
		grace = startupGrace
	}
	return now.After(h.probed.Add(grace))
}

// planUnknown returns the conditions of a silent node, nil when they say so
// already. NetworkUnavailable is left alone: the control plane sets it.
func planUnknown(node *corev1.Node, now time.Time) []corev1.NodeCondition {
	conditions := slices.Clone(node.Status.Conditions)
	changed := false
	for _, kind := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		i := slices.IndexFunc(conditions, func(c corev1.NodeCondition) bool { return c.Type == kind })
		switch {
		case i < 0:
			conditions = append(conditions, corev1.NodeCondition{
				Type:               kind,
				Status:             corev1.ConditionUnknown,
				Reason:             "NodeStatusNeverUpdated",
				Message:            "Kubelet never posted node status.",
				LastHeartbeatTime:  node.CreationTimestamp,
				LastTransitionTime: metav1.NewTime(now),
			})
		case conditions[i].Status != corev1.ConditionUnknown:
			conditions[i].Status = corev1.ConditionUnknown
			conditions[i].Reason = "NodeStatusUnknown"
			conditions[i].Message = "Kubelet stopped posting node status."
			conditions[i].LastTransitionTime = metav1.NewTime(now)
		default:
			continue
		}
		changed = true
	}
	if !changed {
		return nil
	}
	return conditions
}

// condition returns a node's condition, nil when it has none of the type.
func condition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// readiness is the status of a node's Ready condition, empty when there is none.
func readiness(node *corev1.Node) corev1.ConditionStatus {
	if ready := condition(node, corev1.NodeReady); ready != nil {
		return ready.Status
	}
	return ""
}
