package node

import (
	"fmt"
	"maps"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func show(taints []corev1.Taint) string {
	text := ""
	for _, taint := range taints {
		text += fmt.Sprintf("%s:%s ", taint.Key, taint.Effect)
	}
	return text
}

func TestNoScheduleTaints(t *testing.T) {
	with := func(kind corev1.NodeConditionType, status corev1.ConditionStatus) func(*corev1.Node) {
		return func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: kind, Status: status})
		}
	}
	for _, c := range []struct {
		name string
		node *corev1.Node
		want string
	}{
		{"a node that is well", testNode(corev1.ConditionTrue, 0, with(corev1.NodeMemoryPressure, corev1.ConditionFalse)), ""},
		{"a node that says it is not ready", testNode(corev1.ConditionFalse, 0), "node.kubernetes.io/not-ready:NoSchedule "},
		{"a silent node", testNode(corev1.ConditionUnknown, 0, with(corev1.NodeMemoryPressure, corev1.ConditionUnknown)), "node.kubernetes.io/unreachable:NoSchedule "},
		{
			"a node under pressure", testNode(corev1.ConditionTrue, 0, with(corev1.NodeMemoryPressure, corev1.ConditionTrue), with(corev1.NodeDiskPressure, corev1.ConditionTrue), with(corev1.NodePIDPressure, corev1.ConditionTrue)),
			"node.kubernetes.io/memory-pressure:NoSchedule node.kubernetes.io/disk-pressure:NoSchedule node.kubernetes.io/pid-pressure:NoSchedule ",
		},
		{"a node without network", testNode(corev1.ConditionTrue, 0, with(corev1.NodeNetworkUnavailable, corev1.ConditionTrue)), "node.kubernetes.io/network-unavailable:NoSchedule "},
		{"a cordoned node", testNode(corev1.ConditionTrue, 0, func(n *corev1.Node) { n.Spec.Unschedulable = true }), "node.kubernetes.io/unschedulable:NoSchedule "},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := show(noScheduleTaints(c.node)); got != c.want {
				t.Errorf("taints are %q, want %q", got, c.want)
			}
		})
	}
}

func TestPlanTaints(t *testing.T) {
	users := corev1.Taint{Key: "dedicated", Value: "team", Effect: corev1.TaintEffectNoExecute}
	startup := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	notReady, _ := noExecuteTaint(corev1.ConditionFalse)
	unreachable, _ := noExecuteTaint(corev1.ConditionUnknown)
	old := notReady
	old.TimeAdded = &metav1.Time{Time: at(-100)}
	for _, c := range []struct {
		name    string
		taints  []corev1.Taint
		wanted  []corev1.Taint
		want    []corev1.Taint
		changed bool
	}{
		{"a taint is added", []corev1.Taint{users}, []corev1.Taint{notReady}, []corev1.Taint{users, notReady}, true},
		{"one that is there stays as it is", []corev1.Taint{old, users}, []corev1.Taint{notReady}, []corev1.Taint{old, users}, false},
		{"the opposite one goes", []corev1.Taint{old}, []corev1.Taint{unreachable}, []corev1.Taint{unreachable}, true},
		{"all of ours go, others and other effects stay", []corev1.Taint{old, users, startup}, nil, []corev1.Taint{users, startup}, true},
		{"nothing to do", []corev1.Taint{users}, nil, []corev1.Taint{users}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, changed := planTaints(c.taints, isNoExecuteOfOurs, c.wanted, at(7))
			if changed != c.changed || show(got) != show(c.want) {
				t.Errorf("taints are %q (%v), want %q (%v)", show(got), changed, show(c.want), c.changed)
			}
			for _, taint := range got {
				if isNoExecuteOfOurs(taint) {
					added := at(7)
					if hasTaint(c.taints, taint) {
						added = at(-100)
					}
					if taint.TimeAdded == nil || !taint.TimeAdded.Time.Equal(added) {
						t.Errorf("%s was added at %v, want %v", taint.Key, taint.TimeAdded, added)
					}
				}
			}
		})
	}
}

func TestUsersNoScheduleTaintsAreTheirs(t *testing.T) {
	for key, ours := range map[string]bool{
		corev1.TaintNodeUnschedulable:               true,
		corev1.TaintNodeMemoryPressure:              true,
		corev1.TaintNodeUnreachable:                 true,
		corev1.TaintNodeOutOfService:                false,
		"dedicated":                                 false,
		"node.cloudprovider.kubernetes.io/shutdown": false,
	} {
		if got := isNoScheduleOfOurs(corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}); got != ours {
			t.Errorf("%s is ours: %v, want %v", key, got, ours)
		}
	}
}

func TestPlanLabels(t *testing.T) {
	got := planLabels(map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64", "beta.kubernetes.io/arch": "amd64"})
	if want := map[string]string{"beta.kubernetes.io/os": "linux", "beta.kubernetes.io/arch": "arm64"}; !maps.Equal(got, want) {
		t.Errorf("labels to set are %v, want %v", got, want)
	}
	if got := planLabels(map[string]string{"beta.kubernetes.io/os": "linux"}); len(got) != 0 {
		t.Errorf("without the newer label %v are set", got)
	}
}

func TestHeartbeatsNeedNoTurn(t *testing.T) {
	before, after := testNode(corev1.ConditionTrue, 0), testNode(corev1.ConditionTrue, 10)
	if needsTurn(before, after) || drivesPods(before, after) {
		t.Error("a heartbeat starts a turn")
	}
	silent := testNode(corev1.ConditionUnknown, 10)
	if !needsTurn(before, silent) || !drivesPods(before, silent) {
		t.Error("a node that falls silent starts no turn")
	}
	tainted := testNode(corev1.ConditionTrue, 10, func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoExecute}}
	})
	if !needsTurn(before, tainted) || !drivesPods(before, tainted) || !drivesPods(tainted, before) {
		t.Error("a changed taint starts no turn")
	}
}
