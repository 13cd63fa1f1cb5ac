package podtopologyspread_test

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
	"github.com/skiffcluster/skiff/scheduler/plugins/podtopologyspread"
)

func spread(skew int32, key string, action corev1.UnsatisfiableConstraintAction, edit ...func(*corev1.TopologySpreadConstraint)) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		c := corev1.TopologySpreadConstraint{
			MaxSkew: skew, TopologyKey: key, WhenUnsatisfiable: action,
			LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		}
		for _, e := range edit {
			e(&c)
		}
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, c)
	}
}

const (
	skewed  = "node(s) didn't match pod topology spread constraints"
	missing = "node(s) didn't match pod topology spread constraints (missing required label)"
)

func TestFilter(t *testing.T) {
	zone := corev1.LabelTopologyZone
	minDomains := func(n int32) func(*corev1.TopologySpreadConstraint) {
		return func(c *corev1.TopologySpreadConstraint) { c.MinDomains = ptr.To(n) }
	}
	honorTaints := func(c *corev1.TopologySpreadConstraint) { c.NodeTaintsPolicy = ptr.To(corev1.NodeInclusionPolicyHonor) }
	matchKeys := func(c *corev1.TopologySpreadConstraint) { c.MatchLabelKeys = []string{"release"} }
	release := func(v string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Labels["release"] = v } }
	tainted := func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}} }
	inZoneA := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{zone: "a"} }
	dying := func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} }
	two := []*corev1.Pod{Pod("q", "web", On("a1")), Pod("r", "web", On("a2"))}
	for name, test := range map[string]struct {
		pod   *corev1.Pod
		there []*corev1.Pod
		edit  []func(*corev1.Node) // of node b1
		want  map[string]string
	}{
		"the fuller zone is skewed": {
			pod: Pod("p", "web", spread(1, zone, "DoNotSchedule")), there: two,
			want: map[string]string{"a1": skewed, "a2": skewed, "b1": "", "x": missing},
		},
		"a larger skew allows more": {
			pod: Pod("p", "web", spread(3, zone, "DoNotSchedule")), there: two,
			want: map[string]string{"a1": "", "a2": "", "b1": "", "x": missing},
		},
		"a pod that it does not select adds nothing": {
			pod: Pod("p", "other", spread(2, zone, "DoNotSchedule")), there: two,
			want: map[string]string{"a1": "", "a2": "", "b1": "", "x": missing},
		},
		"terminating pods and other namespaces do not count": {
			pod:   Pod("p", "web", spread(1, zone, "DoNotSchedule")),
			there: []*corev1.Pod{Pod("q", "web", On("a1"), dying), Pod("r", "web", On("a1"), func(p *corev1.Pod) { p.Namespace = "else" })},
			want:  map[string]string{"a1": "", "a2": "", "b1": "", "x": missing},
		},
		"missing domains count as empty": {
			pod: Pod("p", "web", spread(1, zone, "DoNotSchedule", minDomains(3))), there: []*corev1.Pod{Pod("q", "web", On("a1")), Pod("r", "web", On("b1"))},
			want: map[string]string{"a1": skewed, "a2": skewed, "b1": skewed, "x": missing},
		},
		"zones that the pod may not run in do not count": {
			pod: Pod("p", "web", inZoneA, spread(1, zone, "DoNotSchedule")), there: two,
			want: map[string]string{"a1": "", "a2": "", "b1": "", "x": missing},
		},
		"tainted nodes count by default": {
			pod: Pod("p", "web", spread(1, zone, "DoNotSchedule")), there: two, edit: []func(*corev1.Node){tainted},
			want: map[string]string{"a1": skewed, "a2": skewed, "b1": "", "x": missing},
		},
		"tainted nodes do not count when asked": {
			pod: Pod("p", "web", spread(1, zone, "DoNotSchedule", honorTaints)), there: two, edit: []func(*corev1.Node){tainted},
			want: map[string]string{"a1": "", "a2": "", "b1": "", "x": missing},
		},
		"only pods of the same release count": {
			pod: Pod("p", "web", release("2"), spread(1, zone, "DoNotSchedule", matchKeys)), there: two,
			want: map[string]string{"a1": "", "a2": "", "b1": "", "x": missing},
		},
		"soft constraints reject nothing": {
			pod: Pod("p", "web", spread(1, zone, "ScheduleAnyway")), there: two,
			want: map[string]string{"a1": "", "a2": "", "b1": "", "x": ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := []*corev1.Node{Node("a1", "a"), Node("a2", "a"), Node("b1", "b", test.edit...), Node("x", "")}
			got := Judge(&podtopologyspread.Rule{}, Turn(t, test.pod, nodes, test.there...))
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}

func TestScorePrefersTheEmptierDomain(t *testing.T) {
	nodes := []*corev1.Node{Node("a1", "a"), Node("b1", "b"), Node("x", "")}
	pod := Pod("p", "web", spread(1, corev1.LabelTopologyZone, "ScheduleAnyway"))
	got := Scores(&podtopologyspread.Rule{}, Turn(t, pod, nodes, Pod("q", "web", On("a1"))))
	want := map[string]int64{"a1": 0, "b1": 100, "x": 0} // x has no zone
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestPodsOfAControllerSpreadByDefault(t *testing.T) {
	rule := &podtopologyspread.Rule{Selector: func(*corev1.Pod) labels.Selector {
		return labels.Set{"app": "web"}.AsSelector()
	}}
	nodes := []*corev1.Node{Node("n1", ""), Node("n2", ""), Node("n3", "")}
	there := []*corev1.Pod{Pod("q", "web", On("n1")), Pod("r", "web", On("n1")), Pod("s", "web", On("n2"))}
	got := Scores(rule, Turn(t, Pod("p", "web"), nodes, there...))
	if !(got["n3"] > got["n2"] && got["n2"] > got["n1"]) {
		t.Errorf("got %v, want n3 above n2 above n1", got)
	}
	none := &podtopologyspread.Rule{Selector: func(*corev1.Pod) labels.Selector { return nil }}
	if got := Scores(none, Turn(t, Pod("p", "web"), nodes, there...)); got != nil {
		t.Errorf("a pod that belongs to nothing: got %v", got)
	}
}
