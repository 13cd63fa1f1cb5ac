package tainttoleration_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
	"github.com/skiffcluster/skiff/scheduler/plugins/tainttoleration"
)

func taint(effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "k", Value: "v", Effect: effect})
	}
}

func tolerate(op corev1.TolerationOperator, value string, effect corev1.TaintEffect) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Tolerations = append(p.Spec.Tolerations, corev1.Toleration{Key: "k", Operator: op, Value: value, Effect: effect})
	}
}

func TestFilter(t *testing.T) {
	const rejected = "node(s) had untolerated taint(s)"
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		node *corev1.Node
		want string
	}{
		"NoSchedule keeps pods away":              {Pod("p", ""), Node("n", "", taint(corev1.TaintEffectNoSchedule)), rejected},
		"NoExecute keeps pods away":               {Pod("p", ""), Node("n", "", taint(corev1.TaintEffectNoExecute)), rejected},
		"PreferNoSchedule does not":               {Pod("p", ""), Node("n", "", taint(corev1.TaintEffectPreferNoSchedule)), ""},
		"an equal toleration helps":               {Pod("p", "", tolerate("", "v", "")), Node("n", "", taint(corev1.TaintEffectNoSchedule)), ""},
		"a toleration of another value does not":  {Pod("p", "", tolerate("", "w", "")), Node("n", "", taint(corev1.TaintEffectNoSchedule)), rejected},
		"a toleration of another effect does not": {Pod("p", "", tolerate("Exists", "", "NoExecute")), Node("n", "", taint(corev1.TaintEffectNoSchedule)), rejected},
		"a toleration of whatever value there is": {Pod("p", "", tolerate("Exists", "", "")), Node("n", "", taint(corev1.TaintEffectNoExecute)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Judge(tainttoleration.Rule{}, Turn(t, test.pod, []*corev1.Node{test.node}))["n"]; got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestNodesWithFewerSoftTaintsAreBetter(t *testing.T) {
	soft := taint(corev1.TaintEffectPreferNoSchedule)
	turn := Turn(t, Pod("p", ""), []*corev1.Node{Node("none", ""), Node("one", "", soft), Node("two", "", soft, soft)})
	want := map[string]int64{"none": 100, "one": 50, "two": 0}
	if got := Scores(tainttoleration.Rule{}, turn); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
