package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func newDaemonSet(name string) *appsv1.DaemonSet {
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	set.Spec.Selector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	set.Spec.Template = template(name, "image")
	return set
}

// daemonStatus waits for desired/current/updated/available.
func daemonStatus(t *testing.T, c client.Client, set *appsv1.DaemonSet, want string) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, set)
		s := set.Status
		got := fmt.Sprintf("%d/%d/%d/%d", s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.UpdatedNumberScheduled, s.NumberAvailable)
		if got != want || s.ObservedGeneration != set.Generation {
			return fmt.Sprintf("status of %s is %s, want %s", set.Name, got, want)
		}
		return ""
	})
}

// nodesOf are the nodes that an app's pods are meant for, and their images.
func nodesOf(t *testing.T, c client.Client, app string) string {
	t.Helper()
	var nodes []string
	for _, pod := range pods(t, c, app) {
		terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
		nodes = append(nodes, terms[0].MatchFields[0].Values[0]+":"+pod.Spec.Containers[0].Image)
	}
	slices.Sort(nodes)
	return strings.Join(nodes, " ")
}

// readyNode creates a node without the taint of one that is not ready yet.
func readyNode(t *testing.T, c client.Client, name string) *corev1.Node {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	create(t, c, node)
	change(t, c, node, func() { node.Spec.Taints = nil })
	return node
}

func TestDaemonSet(t *testing.T) {
	c := start(t, "daemonset-controller")
	for i := range 3 {
		readyNode(t, c, fmt.Sprintf("n%d", i))
	}
	runPods(t, c)

	t.Run("runs a pod on every node, also on those that come later", func(t *testing.T) {
		set := newDaemonSet("every")
		create(t, c, set)
		daemonStatus(t, c, set, "3/3/3/3")
		if got := nodesOf(t, c, "every"); got != "n0:image n1:image n2:image" {
			t.Errorf("pods on %s", got)
		}
		hasEvent(t, c, "every", "Normal", "SuccessfulCreate", "Created pod: every-")
		late := readyNode(t, c, "n3")
		daemonStatus(t, c, set, "4/4/4/4")
		change(t, c, late, func() {
			late.Spec.Taints = []corev1.Taint{{Key: "mine", Effect: corev1.TaintEffectNoExecute}}
		})
		daemonStatus(t, c, set, "3/3/3/3")
		hasEvent(t, c, "every", "Normal", "SuccessfulDelete", "Deleted pod: every-")
		if err := c.Delete(t.Context(), late); err != nil {
			t.Fatal(err)
		}
		daemonStatus(t, c, set, "3/3/3/3")
	})

	t.Run("replaces failed pods", func(t *testing.T) {
		set := newDaemonSet("broken")
		create(t, c, set)
		daemonStatus(t, c, set, "3/3/3/3")
		broken := pods(t, c, "broken")[0]
		broken.Status.Phase = corev1.PodFailed
		eventually(t, func() string {
			if err := c.Status().Update(t.Context(), &broken); err != nil {
				return err.Error()
			}
			return ""
		})
		hasEvent(t, c, "broken", "Warning", "FailedDaemonPod", "Found failed daemon pod default/"+broken.Name+" on node n")
		eventually(t, func() string {
			if got := nodesOf(t, c, "broken"); got != "n0:image n1:image n2:image" {
				return "pods on " + got
			}
			return ""
		})
	})

	for _, strategy := range []struct{ name, surge, unavailable string }{{"unavailable", "0", "1"}, {"surge", "2", "0"}} {
		t.Run("rolls out another template by "+strategy.name, func(t *testing.T) {
			set := newDaemonSet(strategy.name)
			set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{
				MaxSurge: new(intstr.Parse(strategy.surge)), MaxUnavailable: new(intstr.Parse(strategy.unavailable)),
			}
			create(t, c, set)
			daemonStatus(t, c, set, "3/3/3/3")
			change(t, c, set, func() { set.Spec.Template.Spec.Containers[0].Image = "next" })
			daemonStatus(t, c, set, "3/3/3/3")
			eventually(t, func() string {
				if got := nodesOf(t, c, strategy.name); got != "n0:next n1:next n2:next" {
					return "pods on " + got
				}
				return ""
			})
			var revisions appsv1.ControllerRevisionList
			if err := c.List(t.Context(), &revisions, client.MatchingLabels{"app": strategy.name}); err != nil {
				t.Fatal(err)
			}
			if len(revisions.Items) != 2 || !metav1.IsControlledBy(&revisions.Items[0], set) {
				t.Errorf("revisions %+v", revisions.Items)
			}
		})
	}

	t.Run("rolls back to a revision that it has", func(t *testing.T) {
		set := newDaemonSet("back")
		set.Spec.UpdateStrategy.Type = appsv1.OnDeleteDaemonSetStrategyType
		create(t, c, set)
		daemonStatus(t, c, set, "3/3/3/3")
		change(t, c, set, func() { set.Spec.Template.Spec.Containers[0].Image = "next" })
		daemonStatus(t, c, set, "3/3/0/3")
		change(t, c, set, func() { set.Spec.Template.Spec.Containers[0].Image = "image" })
		daemonStatus(t, c, set, "3/3/3/3")
		var revisions appsv1.ControllerRevisionList
		if err := c.List(t.Context(), &revisions, client.MatchingLabels{"app": "back"}); err != nil {
			t.Fatal(err)
		}
		var numbers []int64
		for _, revision := range revisions.Items {
			numbers = append(numbers, revision.Revision)
		}
		if slices.Sort(numbers); !slices.Equal(numbers, []int64{2, 3}) {
			t.Errorf("revisions %v", numbers)
		}
	})
}
