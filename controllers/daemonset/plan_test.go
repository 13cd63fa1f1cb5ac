package daemonset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func newSet(changes ...func(*appsv1.DaemonSet)) *appsv1.DaemonSet {
	ds := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "ds"}}
	ds.Spec.UpdateStrategy.Type = appsv1.RollingUpdateDaemonSetStrategyType
	ds.Spec.Template.Labels = map[string]string{"app": "ds"}
	for _, change := range changes {
		change(ds)
	}
	return ds
}

func rolling(surge, unavailable string) func(*appsv1.DaemonSet) {
	return func(ds *appsv1.DaemonSet) {
		ds.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{
			MaxSurge: new(intstr.Parse(surge)), MaxUnavailable: new(intstr.Parse(unavailable)),
		}
	}
}

func newNodes(count int) []*corev1.Node {
	var nodes []*corev1.Node
	for i := range count {
		nodes = append(nodes, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("n%d", i), Labels: map[string]string{"n": fmt.Sprint(i)}}})
	}
	return nodes
}

// newPods makes pods from words such as "n0:new", "n1:old" and "n2:new!" for
// one that is not available; "~" is for one being deleted, "x" in front of
// the node for one that failed, "?" for one that is not bound yet.
func newPods(words string) []*corev1.Pod {
	var pods []*corev1.Pod
	for i, word := range strings.Fields(words) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: word, CreationTimestamp: metav1.NewTime(now.Add(time.Duration(i-99) * time.Second))}}
		pod.Status.Phase = corev1.PodRunning
		node, hash, _ := strings.Cut(word, ":")
		hash, notReady := strings.CutSuffix(hash, "!")
		if rest, is := strings.CutPrefix(node, "~"); is {
			node, pod.DeletionTimestamp = rest, &metav1.Time{Time: now}
		}
		if rest, is := strings.CutPrefix(node, "x"); is {
			node, pod.Status.Phase = rest, corev1.PodFailed
		}
		rest, unbound := strings.CutPrefix(node, "?")
		pod.Spec = newPod(newSet(), metav1.OwnerReference{}, rest, "").Spec
		if !unbound {
			pod.Spec.NodeName = rest
		}
		pod.Labels = map[string]string{hashLabel: hash}
		if !notReady && !unbound {
			pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-time.Hour))}}
		}
		pods = append(pods, pod)
	}
	return pods
}

func taint(key string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(node *corev1.Node) { node.Spec.Taints = []corev1.Taint{{Key: key, Effect: effect}} }
}

func TestPlace(t *testing.T) {
	none := func(*corev1.Node) {}
	tests := []struct {
		name   string
		change func(*appsv1.DaemonSet)
		node   func(*corev1.Node)
		want   placement
	}{
		{"any node", func(*appsv1.DaemonSet) {}, none, placement{true, true}},
		{"the node that is named", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeName = "n0" }, none, placement{true, true}},
		{"not the node that is named", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeName = "n1" }, none, placement{}},
		{"selected", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeSelector = map[string]string{"n": "0"} }, none, placement{true, true}},
		{"not selected", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeSelector = map[string]string{"n": "1"} }, none, placement{}},
		{"a taint that keeps pods off", func(*appsv1.DaemonSet) {}, taint("mine", corev1.TaintEffectNoSchedule), placement{false, true}},
		{"a taint that evicts them", func(*appsv1.DaemonSet) {}, taint("mine", corev1.TaintEffectNoExecute), placement{}},
		{"a taint that is tolerated", func(ds *appsv1.DaemonSet) {
			ds.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
		}, taint("mine", corev1.TaintEffectNoExecute), placement{true, true}},
		{"a silent node", func(*appsv1.DaemonSet) {}, taint(corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute), placement{true, true}},
		{"a cordoned node", func(*appsv1.DaemonSet) {}, taint(corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule), placement{true, true}},
		{"a node without network", func(*appsv1.DaemonSet) {}, taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule), placement{false, true}},
		{"a node without network for one that needs none", func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.HostNetwork = true }, taint(corev1.TaintNodeNetworkUnavailable, corev1.TaintEffectNoSchedule), placement{true, true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			node := newNodes(1)[0]
			test.node(node)
			if got := place(newSet(test.change), node); got != test.want {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func TestNewPod(t *testing.T) {
	ds := newSet(func(ds *appsv1.DaemonSet) {
		ds.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: "3"}
		ds.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(5))}}
	})
	pod := newPod(ds, metav1.OwnerReference{}, "n7", "abc")
	if nodeOf(pod) != "n7" || pod.Labels[hashLabel] != "abc" || pod.Labels["pod-template-generation"] != "3" || pod.Labels["app"] != "ds" {
		t.Errorf("got node %s, labels %v", nodeOf(pod), pod.Labels)
	}
	if len(pod.Spec.Tolerations) != 6 || pod.Spec.Tolerations[0].TolerationSeconds != nil {
		t.Errorf("got tolerations %+v", pod.Spec.Tolerations)
	}
	if len(ds.Spec.Template.Labels) != 1 || ds.Spec.Template.Spec.Affinity != nil {
		t.Errorf("the template was changed: %+v", ds.Spec.Template)
	}
}

func TestPlanPods(t *testing.T) {
	tests := []struct {
		name           string
		ds             *appsv1.DaemonSet
		pods           string
		create, remove string
	}{
		{"every node gets one", newSet(), "", "n0 n1 n2", ""},
		{"where there is none yet", newSet(), "n1:new ?n2:new", "n0", ""},
		{"a pod that ends holds its node until it is gone", newSet(), "~n0:new n1:new n2:new", "", ""},
		{"one too many: the younger", newSet(), "n0:new n0:new! n1:new n2:new", "", "n0:new!"},
		{"one that has ended and waits for a finalizer is replaced", newSet(), "~xn0:new n1:new n2:new", "n0", ""},
		{"a failed pod is replaced", newSet(), "xn0:new n1:new n2:new", "", "xn0:new"},
		{"a node that it is not for", newSet(func(ds *appsv1.DaemonSet) { ds.Spec.Template.Spec.NodeSelector = map[string]string{"n": "1"} }), "n0:new ~n2:new", "n1", "n0:new"},
		{"a pod that waits for a node that is gone", newSet(), "n0:new n1:new n2:new ?n9:new n8:new", "", "?n9:new"},
		{"a surging pod waits beside the old one", newSet(rolling("1", "0")), "n0:old n0:new! n1:new n2:new", "", ""},
		{"until it is available", newSet(rolling("1", "0")), "n0:old n0:new n1:new n2:new", "", "n0:old"},
		{"but never two of a kind", newSet(rolling("1", "0")), "n0:old n0:old n0:new! n0:new! n1:new n2:new", "", "n0:old n0:new!"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			check(t, planPods(newView(test.ds, newNodes(3), newPods(test.pods), "new", now)), test.create, test.remove)
		})
	}
}

func TestPlanRolling(t *testing.T) {
	onDelete := func(ds *appsv1.DaemonSet) { ds.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType }
	tests := []struct {
		name           string
		ds             *appsv1.DaemonSet
		pods           string
		create, remove string
	}{
		{"all are new", newSet(), "n0:new n1:new n2:new n3:new", "", ""},
		{"one at a time by default", newSet(), "n0:old n1:old n2:old n3:old", "", "n0:old"},
		{"the next waits for the first", newSet(), "n0:new! n1:old n2:old n3:old", "", ""},
		{"half of them at a time", newSet(rolling("0", "50%")), "n0:old n1:old n2:old n3:old", "", "n0:old n1:old"},
		{"a percentage is rounded up", newSet(rolling("0", "30%")), "n0:old n1:old n2:old n3:old", "", "n0:old n1:old"},
		{"what is not available costs nothing", newSet(), "n0:old n1:old n2:old! n3:old!", "", "n2:old! n3:old! n0:old"},
		{"a pod that ends counts as missing", newSet(), "~n0:old n1:old n2:old n3:old", "", ""},
		{"by hand", newSet(onDelete), "n0:old n1:old n2:old n3:old", "", ""},
		{"new ones beside the old", newSet(rolling("2", "0")), "n0:old n1:old n2:old n3:old", "n0 n1", ""},
		{"no more than the surge", newSet(rolling("2", "0")), "n0:old n0:new! n1:old n2:old n3:new", "n1", ""},
		{"old ones that are not available at once", newSet(rolling("1", "0")), "n0:old n1:old! n2:old! n3:old", "n1 n2 n0", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			check(t, planRolling(newView(test.ds, newNodes(4), newPods(test.pods), "new", now)), test.create, test.remove)
		})
	}
}

func check(t *testing.T, plan podsPlan, create, remove string) {
	t.Helper()
	var removed []string
	for _, pod := range plan.remove {
		removed = append(removed, pod.Name)
	}
	if got := strings.Join(plan.create, " "); got != create {
		t.Errorf("creates %q, want %q", got, create)
	}
	if got := strings.Join(removed, " "); got != remove {
		t.Errorf("removes %q, want %q", got, remove)
	}
}

func TestPlanStatus(t *testing.T) {
	ds := newSet(func(ds *appsv1.DaemonSet) { ds.Generation = 4; ds.Spec.MinReadySeconds = 10 })
	nodes := newNodes(4)
	taint("mine", corev1.TaintEffectNoExecute)(nodes[3])
	pods := newPods("n0:new n1:old n2:new! n3:new")
	pods[1].Status.Conditions[0].LastTransitionTime.Time = now.Add(-4 * time.Second)
	status, wait := planStatus(newView(ds, nodes, pods, "new", now))
	want := appsv1.DaemonSetStatus{
		ObservedGeneration: 4, DesiredNumberScheduled: 3, CurrentNumberScheduled: 3, NumberMisscheduled: 1,
		NumberReady: 2, NumberAvailable: 1, NumberUnavailable: 2, UpdatedNumberScheduled: 2,
	}
	if status.String() != want.String() || wait != 6*time.Second {
		t.Errorf("got %+v after %s, want %+v", status, wait, want)
	}
	if !slices.IsSortedFunc(nodes, func(a, b *corev1.Node) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the nodes were moved")
	}
}
