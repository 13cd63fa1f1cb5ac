package nodeaffinity_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/skiffcluster/skiff/scheduler/plugins/nodeaffinity"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func in(key string, values ...string) corev1.NodeSelectorRequirement {
	return corev1.NodeSelectorRequirement{Key: key, Operator: corev1.NodeSelectorOpIn, Values: values}
}

func required(terms ...corev1.NodeSelectorTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: terms},
		}}
	}
}

func labels(of ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchExpressions: of}
}

func fields(of ...corev1.NodeSelectorRequirement) corev1.NodeSelectorTerm {
	return corev1.NodeSelectorTerm{MatchFields: of}
}

func TestFilter(t *testing.T) {
	const no = "node(s) didn't match Pod's node affinity/selector"
	const conflict = "pod affinity terms conflict"
	zone := corev1.LabelTopologyZone
	selector := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{zone: "a"} }
	for name, test := range map[string]struct {
		pod  *corev1.Pod
		want map[string]string
	}{
		"a selector must match":            {Pod("p", "", selector), map[string]string{"n1": "", "n2": no}},
		"one of the terms must match":      {Pod("p", "", required(labels(in(zone, "x")), labels(in(zone, "b")))), map[string]string{"n1": no, "n2": ""}},
		"all of a term must match":         {Pod("p", "", required(labels(in(zone, "a"), in("disk", "ssd")))), map[string]string{"n1": no, "n2": no}},
		"an empty term matches nothing":    {Pod("p", "", required(corev1.NodeSelectorTerm{})), map[string]string{"n1": no, "n2": no}},
		"selector and affinity must match": {Pod("p", "", selector, required(labels(in(zone, "b")))), map[string]string{"n1": no, "n2": no}},
		"a node is named by field":         {Pod("p", "", required(fields(in("metadata.name", "n2")))), map[string]string{"n1": no, "n2": ""}},
		"two names for one node conflict":  {Pod("p", "", required(fields(in("metadata.name", "n1"), in("metadata.name", "n2")))), map[string]string{"n1": conflict, "n2": conflict}},
	} {
		t.Run(name, func(t *testing.T) {
			turn := Turn(t, test.pod, []*corev1.Node{Node("n1", "a"), Node("n2", "b")})
			if got := Judge(nodeaffinity.Rule{}, turn); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestPreferredTermsAddUp(t *testing.T) {
	pod := Pod("p", "", func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{
				{Weight: 30, Preference: labels(in(corev1.LabelTopologyZone, "a", "b"))},
				{Weight: 10, Preference: labels(in(corev1.LabelTopologyZone, "a"))},
			},
		}}
	})
	turn := Turn(t, pod, []*corev1.Node{Node("n1", "a"), Node("n2", "b"), Node("n3", "c")})
	want := map[string]int64{"n1": 100, "n2": 75, "n3": 0}
	if got := Scores(nodeaffinity.Rule{}, turn); !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
