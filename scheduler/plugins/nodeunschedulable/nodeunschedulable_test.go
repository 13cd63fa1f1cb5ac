package nodeunschedulable_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/plugins/nodeunschedulable"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func TestCordonedNodeTakesOnlyPodsThatTolerateIt(t *testing.T) {
	nodes := []*corev1.Node{Node("n", "", func(n *corev1.Node) { n.Spec.Unschedulable = true })}
	if got := Judge(nodeunschedulable.Rule{}, Turn(t, Pod("p", ""), nodes))["n"]; got != "node(s) were unschedulable" {
		t.Errorf("got %q", got)
	}
	tolerant := Pod("p", "", func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnschedulable, Operator: "Exists", Effect: "NoSchedule"}}
	})
	if got := Judge(nodeunschedulable.Rule{}, Turn(t, tolerant, nodes))["n"]; got != "" {
		t.Errorf("tolerant pod: got %q", got)
	}
}
