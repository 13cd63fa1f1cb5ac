package interpodaffinity_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/scheduler/plugins/interpodaffinity"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func term(app, key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}, TopologyKey: key}
}

func affinity(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{}, PodAntiAffinity: &corev1.PodAntiAffinity{}}
	}
	return p.Spec.Affinity
}

func near(t ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) { affinity(p).PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution = t }
}

func far(t ...corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) { affinity(p).PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution = t }
}

func preferNear(w int32, t corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		affinity(p).PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: w, PodAffinityTerm: t}}
	}
}

func preferFar(w int32, t corev1.PodAffinityTerm) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		affinity(p).PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution = []corev1.WeightedPodAffinityTerm{{Weight: w, PodAffinityTerm: t}}
	}
}

func namespace(name string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Namespace = name } }

var (
	zone = corev1.LabelTopologyZone
	host = corev1.LabelHostname
	rule = &interpodaffinity.Rule{Namespace: func(name string) labels.Set { return labels.Set{"team": name} }}
)

const (
	noAffinity = "node(s) didn't match pod affinity rules"
	noAnti     = "node(s) didn't match pod anti-affinity rules"
	noExisting = "node(s) didn't satisfy existing pods anti-affinity rules"
)

func TestFilter(t *testing.T) {
	inTeam := term("db", zone)
	inTeam.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"team": "blue"}}
	everywhere := term("db", zone)
	everywhere.NamespaceSelector = &metav1.LabelSelector{}
	for name, test := range map[string]struct {
		pod   *corev1.Pod
		there []*corev1.Pod
		want  map[string]string // nodes a1, a2 in zone a, b1 in zone b, x without zone
	}{
		"near in a zone": {
			Pod("p", "web", near(term("db", zone))), []*corev1.Pod{Pod("q", "db", On("a1"))},
			map[string]string{"a1": "", "a2": "", "b1": noAffinity, "x": noAffinity},
		},
		"near to two apps that no pod is at once": {
			Pod("p", "web", near(term("db", zone), term("cache", zone))), []*corev1.Pod{Pod("q", "db", On("a1")), Pod("r", "cache", On("a2"))},
			map[string]string{"a1": noAffinity, "a2": noAffinity, "b1": noAffinity, "x": noAffinity},
		},
		"the first of a group may start anywhere in a zone": {
			Pod("p", "web", near(term("web", zone))), nil,
			map[string]string{"a1": "", "a2": "", "b1": "", "x": noAffinity},
		},
		"but nobody starts a group of others": {
			Pod("p", "web", near(term("db", zone))), nil,
			map[string]string{"a1": noAffinity, "a2": noAffinity, "b1": noAffinity, "x": noAffinity},
		},
		"far from its like on a host": {
			Pod("p", "web", far(term("web", host))), []*corev1.Pod{Pod("q", "web", On("a1"))},
			map[string]string{"a1": noAnti, "a2": "", "b1": "", "x": ""},
		},
		"others keep it out of their zone": {
			Pod("p", "web"), []*corev1.Pod{Pod("q", "db", On("a1"), far(term("web", zone)))},
			map[string]string{"a1": noExisting, "a2": noExisting, "b1": "", "x": ""},
		},
		"a pod of another namespace does not count": {
			Pod("p", "web", far(term("web", zone))), []*corev1.Pod{Pod("q", "web", On("a1"), namespace("blue"))},
			map[string]string{"a1": "", "a2": "", "b1": "", "x": ""},
		},
		"unless its namespace is selected by label": {
			Pod("p", "web", near(inTeam)), []*corev1.Pod{Pod("q", "db", On("a1"), namespace("blue")), Pod("r", "db", On("b1"), namespace("red"))},
			map[string]string{"a1": "", "a2": "", "b1": noAffinity, "x": noAffinity},
		},
		"or all namespaces are": {
			Pod("p", "web", far(everywhere)), []*corev1.Pod{Pod("r", "db", On("b1"), namespace("red"))},
			map[string]string{"a1": "", "a2": "", "b1": noAnti, "x": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := []*corev1.Node{Node("a1", "a"), Node("a2", "a"), Node("b1", "b"), Node("x", "")}
			if got := Judge(rule, Turn(t, test.pod, nodes, test.there...)); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestScore(t *testing.T) {
	nodes := func() []*corev1.Node { return []*corev1.Node{Node("a1", "a"), Node("b1", "b"), Node("c1", "c")} }
	for name, test := range map[string]struct {
		pod   *corev1.Pod
		there []*corev1.Pod
		want  map[string]int64
	}{
		"the pod prefers to be near": {
			Pod("p", "web", preferNear(5, term("db", zone))), []*corev1.Pod{Pod("q", "db", On("a1")), Pod("r", "db", On("a1")), Pod("s", "db", On("b1"))},
			map[string]int64{"a1": 100, "b1": 50, "c1": 0},
		},
		"the pod prefers to be far": {
			Pod("p", "web", preferFar(5, term("db", zone))), []*corev1.Pod{Pod("q", "db", On("a1"))},
			map[string]int64{"a1": 0, "b1": 100, "c1": 100},
		},
		"pods that require its like attract it": {
			Pod("p", "web"), []*corev1.Pod{Pod("q", "db", On("b1"), near(term("web", zone)))},
			map[string]int64{"a1": 0, "b1": 100, "c1": 0},
		},
		"pods that prefer to be far from it repel it": {
			Pod("p", "web"), []*corev1.Pod{Pod("q", "db", On("b1"), preferFar(1, term("web", zone)))},
			map[string]int64{"a1": 100, "b1": 0, "c1": 100},
		},
		"nobody cares": {Pod("p", "web"), []*corev1.Pod{Pod("q", "db", On("b1"))}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Scores(rule, Turn(t, test.pod, nodes(), test.there...)); !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
