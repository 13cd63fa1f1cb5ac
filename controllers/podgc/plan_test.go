package podgc

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func pod(name, node string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, CreationTimestamp: metav1.NewTime(epoch)},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if change != nil {
		change(p)
	}
	return p
}

func terminating(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: epoch} }

func ended(age time.Duration, phase corev1.PodPhase, reason string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.CreationTimestamp = metav1.NewTime(epoch.Add(-age))
		p.Status.Phase, p.Status.Reason = phase, reason
	}
}

func node(name string, ready corev1.ConditionStatus, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.NodeSpec{Taints: taints},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}},
	}
}

func byName(nodes ...*corev1.Node) map[string]*corev1.Node {
	m := map[string]*corev1.Node{}
	for _, n := range nodes {
		m[n.Name] = n
	}
	return m
}

func TestPlan(t *testing.T) {
	outOfService := corev1.Taint{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoExecute}
	for _, c := range []struct {
		name      string
		pods      []*corev1.Pod
		nodes     map[string]*corev1.Node
		gone      map[string]bool
		threshold int
		want      []string
	}{
		{
			name:  "a pod of a node that is gone is deleted, others stay",
			pods:  []*corev1.Pod{pod("a", "n1", nil), pod("b", "n2", nil)},
			nodes: byName(node("n2", corev1.ConditionTrue)),
			gone:  map[string]bool{"n1": true},
			want:  []string{"a"},
		},
		{
			name: "a pod of a node that is only missing from the cache stays",
			pods: []*corev1.Pod{pod("a", "n1", nil)},
		},
		{
			name: "a terminating pod without a node is deleted, a waiting one stays",
			pods: []*corev1.Pod{pod("a", "", terminating), pod("b", "", nil)},
			want: []string{"a"},
		},
		{
			name:  "a terminating pod on a node out of service is deleted, a running one stays",
			pods:  []*corev1.Pod{pod("a", "n1", terminating), pod("b", "n1", nil)},
			nodes: byName(node("n1", corev1.ConditionUnknown, outOfService)),
			want:  []string{"a"},
		},
		{
			name:  "a node out of service that is ready is left to its agent",
			pods:  []*corev1.Pod{pod("a", "n1", terminating)},
			nodes: byName(node("n1", corev1.ConditionTrue, outOfService)),
		},
		{
			name:  "a terminating pod on a silent node without the taint stays",
			pods:  []*corev1.Pod{pod("a", "n1", terminating)},
			nodes: byName(node("n1", corev1.ConditionUnknown)),
		},
		{
			name: "of too many terminated pods the evicted go first, then the oldest",
			pods: []*corev1.Pod{
				pod("young", "", ended(time.Minute, corev1.PodSucceeded, "")),
				pod("old", "", ended(time.Hour, corev1.PodFailed, "")),
				pod("middle", "", ended(2*time.Minute, corev1.PodFailed, "Error")),
				pod("evicted", "", ended(time.Second, corev1.PodFailed, "Evicted")),
				pod("running", "n1", nil),
			},
			nodes:     byName(node("n1", corev1.ConditionTrue)),
			threshold: 2,
			want:      []string{"evicted", "old"},
		},
		{
			name:      "as many terminated pods as allowed stay",
			pods:      []*corev1.Pod{pod("a", "", ended(time.Hour, corev1.PodFailed, ""))},
			threshold: 1,
		},
		{
			name:      "a negative threshold keeps all",
			pods:      []*corev1.Pod{pod("a", "", ended(time.Hour, corev1.PodFailed, ""))},
			threshold: -1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []string
			for _, removal := range plan(c.pods, c.nodes, c.gone, c.threshold) {
				got = append(got, removal.pod.Name)
				if orphan := c.gone[removal.pod.Spec.NodeName]; orphan != (removal.condition != nil) {
					t.Errorf("pod %s gets condition %v", removal.pod.Name, removal.condition)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("deletes %v, want %v", got, c.want)
			}
		})
	}
}

func TestMissingNodesWaitInQuarantine(t *testing.T) {
	m := missing{}
	lost := []*corev1.Pod{pod("a", "n1", nil), pod("b", "n1", nil), pod("c", "n2", nil), pod("d", "", nil)}
	nodes := byName(node("n2", corev1.ConditionTrue))
	at := func(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

	if over := m.observe(lost, nodes, at(0)); len(over) != 0 {
		t.Fatalf("at first sight %v are gone", over)
	}
	if over := m.observe(lost, nodes, at(39)); len(over) != 0 {
		t.Fatalf("after 39 s %v are gone", over)
	}
	if over := m.observe(lost, nodes, at(40)); !slices.Equal(over, []string{"n1"}) {
		t.Fatalf("after 40 s %v are gone, want n1", over)
	}
	// The node comes back for a moment: the wait starts again.
	m.observe(lost, byName(node("n1", corev1.ConditionTrue), node("n2", corev1.ConditionTrue)), at(50))
	if over := m.observe(lost, nodes, at(60)); len(over) != 0 {
		t.Fatalf("after a comeback %v are gone at once", over)
	}
	if m.observe(nil, nodes, at(70)); len(m) != 0 {
		t.Fatalf("nodes without pods are remembered: %v", m)
	}
}

func TestSetCondition(t *testing.T) {
	status := &corev1.PodStatus{}
	condition := corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "DeletionByPodGC"}
	setCondition(status, condition, epoch)
	setCondition(status, condition, epoch.Add(time.Hour))
	if len(status.Conditions) != 1 || !status.Conditions[0].LastTransitionTime.Time.Equal(epoch) {
		t.Errorf("conditions are %+v", status.Conditions)
	}
}
