package cycle_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/scheduler/cache"
	"github.com/skiffcluster/skiff/scheduler/cycle"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func newCycle(t *testing.T, nodes []*corev1.Node, pods ...*corev1.Pod) *cycle.Cycle {
	t.Helper()
	c := &cycle.Cycle{Cache: cache.New(), Rules: cycle.DefaultRules(cycle.Lookup{
		Namespace: noNamespaces,
		Claim:     func(string, string) *corev1.PersistentVolumeClaim { return nil },
	}), Parallelism: 2}
	for _, n := range nodes {
		c.Cache.SetNode(n)
	}
	for _, p := range pods {
		c.Cache.SetPod(Parse(t, p))
	}
	return c
}

func priority(n int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

func TestMessageOfAPodThatFitsNowhere(t *testing.T) {
	tainted := func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "k", Effect: corev1.TaintEffectNoSchedule}} }
	cordoned := func(n *corev1.Node) { n.Spec.Unschedulable = true }
	named := func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: "In", Values: []string{"n1"}}},
			}}},
		}}
	}
	claims := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"},
		}}}
	}
	never := func(p *corev1.Pod) { p.Spec.PreemptionPolicy = ptr.To(corev1.PreemptNever) }
	full := []*corev1.Pod{Pod("q1", "", On("n1"), Requests("cpu", "4")), Pod("q2", "", On("n2"), Requests("cpu", "4"))}
	for name, test := range map[string]struct {
		pod   *corev1.Pod
		nodes []*corev1.Node
		there []*corev1.Pod
		want  string
	}{
		"no nodes": {Pod("p", ""), nil, nil, "no nodes available to schedule pods"},
		"reasons are counted and sorted": {
			Pod("p", "", Requests("cpu", "1")), []*corev1.Node{Node("n0", "", tainted), Node("n1", ""), Node("n2", "")}, full,
			"0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. preemption: 0/3 nodes are available: " +
				"1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod.",
		},
		"a cordoned node": {
			Pod("p", ""), []*corev1.Node{Node("n0", "", cordoned)}, nil,
			"0/1 nodes are available: 1 node(s) were unschedulable. " +
				"preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
		},
		"a node is named and others are not looked at": {
			Pod("p", "", named, Requests("cpu", "1")), []*corev1.Node{Node("n1", ""), Node("n2", ""), Node("n3", "")}, full,
			"0/3 nodes are available: 1 Insufficient cpu, 2 node(s) didn't satisfy plugin(s) [NodeAffinity]. preemption: 0/3 nodes are available: " +
				"1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling.",
		},
		"a claim is missing": {
			Pod("p", "", claims), []*corev1.Node{Node("n1", ""), Node("n2", "")}, nil,
			`0/2 nodes are available: persistentvolumeclaim "x" not found. ` +
				"preemption: 0/2 nodes are available: 2 Preemption is not helpful for scheduling.",
		},
		"a pod that never preempts": {
			Pod("p", "", never, Requests("cpu", "1")), []*corev1.Node{Node("n1", "")}, full[:1],
			"0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
		},
		"pods of lower priority that are not enough": {
			Pod("p", "", priority(5), Requests("cpu", "4")), []*corev1.Node{Node("n1", "")},
			[]*corev1.Pod{Pod("a", "", On("n1"), priority(5), Requests("cpu", "1")), Pod("b", "", On("n1"), Requests("cpu", "1"))},
			"0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: 1 Insufficient cpu.",
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCycle(t, test.nodes, test.there...)
			p := Parse(t, test.pod)
			_, err := c.Schedule(p)
			var unfit *cycle.Unfit
			if errors.As(err, &unfit) {
				if found, _ := c.Preempt(p, unfit, nil); found != nil {
					t.Fatalf("preemption found %v", found)
				}
			}
			if err == nil || err.Error() != test.want {
				t.Errorf("got  %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestPreemptionTakesTheLeast(t *testing.T) {
	started := func(minutes int) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.StartTime = &metav1.Time{Time: time.Unix(int64(minutes)*60, 0)}
		}
	}
	budget := []*policyv1.PodDisruptionBudget{{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}},
	}}
	cpu := func(n string) func(*corev1.Pod) { return Requests("cpu", n) }
	for name, test := range map[string]struct {
		there   []*corev1.Pod
		budgets []*policyv1.PodDisruptionBudget
		node    string
		victims []string
	}{
		"only as many as must go": {
			there: []*corev1.Pod{
				Pod("a", "", On("n1"), priority(1), cpu("2")), Pod("b", "", On("n1"), priority(2), cpu("2")),
				Pod("c", "", On("n2"), priority(100), cpu("4")),
			},
			node: "n1", victims: []string{"a"},
		},
		"the lower of the highest priorities": {
			there: []*corev1.Pod{Pod("a", "", On("n1"), priority(3), cpu("4")), Pod("b", "", On("n2"), priority(2), cpu("4"))},
			node:  "n2", victims: []string{"b"},
		},
		"fewer rather than many": {
			there: []*corev1.Pod{
				Pod("a", "", On("n1"), cpu("4")),
				Pod("b", "", On("n2"), cpu("3500m")), Pod("c", "", On("n2"), cpu("500m")),
			},
			node: "n1", victims: []string{"a"},
		},
		"the youngest": {
			there: []*corev1.Pod{Pod("a", "", On("n1"), cpu("4"), started(1)), Pod("b", "", On("n2"), cpu("4"), started(2))},
			node:  "n2", victims: []string{"b"},
		},
		"not those that a budget protects": {
			there:   []*corev1.Pod{Pod("a", "web", On("n1"), cpu("4")), Pod("b", "", On("n2"), priority(5), cpu("4"))},
			budgets: budget, node: "n2", victims: []string{"b"},
		},
		"unless nobody else is there": {
			there:   []*corev1.Pod{Pod("a", "web", On("n1"), cpu("4")), Pod("b", "", On("n2"), priority(50), cpu("4"))},
			budgets: budget, node: "n1", victims: []string{"a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCycle(t, []*corev1.Node{Node("n1", ""), Node("n2", "")}, test.there...)
			p := Parse(t, Pod("p", "", priority(10), cpu("1900m")))
			if name == "fewer rather than many" {
				p = Parse(t, Pod("p", "", priority(10), cpu("4")))
			}
			_, err := c.Schedule(p)
			var unfit *cycle.Unfit
			if !errors.As(err, &unfit) {
				t.Fatalf("got %v, want a pod that fits nowhere", err)
			}
			found, _ := c.Preempt(p, unfit, test.budgets)
			if found == nil {
				t.Fatalf("nobody found: %v", unfit)
			}
			var victims []string
			for _, v := range found.Victims {
				victims = append(victims, v.Name)
			}
			if found.Node != test.node || !slices.Equal(victims, test.victims) {
				t.Errorf("got %s %v, want %s %v", found.Node, victims, test.node, test.victims)
			}
		})
	}
}

func TestPromisedRoomIsKeptFromOthers(t *testing.T) {
	c := newCycle(t, []*corev1.Node{Node("n1", "")})
	promised := Parse(t, Pod("vip", "", priority(10), Requests("cpu", "3")))
	c.Nominated = func(string) []*cache.Pod { return []*cache.Pod{promised} }
	if _, err := c.Schedule(Parse(t, Pod("p", "", Requests("cpu", "2")))); err == nil {
		t.Error("a lesser pod took the room")
	}
	if _, err := c.Schedule(Parse(t, Pod("q", "", Requests("cpu", "1")))); err != nil {
		t.Errorf("a pod that fits beside it: %v", err)
	}
	if _, err := c.Schedule(Parse(t, Pod("r", "", priority(11), Requests("cpu", "2")))); err != nil {
		t.Errorf("a greater pod: %v", err)
	}
	if r, err := c.Schedule(promised); err != nil || r.Node != "n1" {
		t.Errorf("the pod itself: %v %v", r, err)
	}
}

func TestNodesToFind(t *testing.T) {
	for name, test := range map[string]struct{ nodes, percentage, want int }{
		"all of a small cluster":                  {99, 0, 99},
		"at least a hundred":                      {100, 0, 100},
		"42 percent of a thousand":                {1000, 0, 420},
		"10 percent of five thousand":             {5000, 0, 500},
		"never below 5 percent":                   {10000, 0, 500},
		"a percentage that was asked for":         {5000, 30, 1500},
		"all when asked for":                      {5000, 100, 5000},
		"a hundred though a percentage says less": {1000, 1, 100},
	} {
		t.Run(name, func(t *testing.T) {
			if got := cycle.NodesToFind(test.nodes, test.percentage); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestLargeClusterIsSampledInTurn(t *testing.T) {
	var nodes []*corev1.Node
	for i := range 3000 {
		nodes = append(nodes, Node(fmt.Sprintf("n%d", i), ""))
	}
	c := newCycle(t, nodes)
	want := cycle.NodesToFind(3000, 0)
	for range 3 {
		r, err := c.Schedule(Parse(t, Pod("p", "", Requests("cpu", "1"))))
		if err != nil || r.Feasible < want || r.Feasible > want+300 {
			t.Fatalf("got %+v %v, want about %d feasible", r, err, want)
		}
	}
	if _, err := c.Schedule(Parse(t, Pod("p", "", Requests("cpu", "5")))); err == nil {
		t.Error("a pod that no node can hold was scheduled")
	}
}

func TestExplainGivesReasonsAndScores(t *testing.T) {
	c := newCycle(t, []*corev1.Node{Node("small", "", func(n *corev1.Node) { n.Spec.Unschedulable = true }), Node("empty", ""), Node("used", "")},
		Pod("q", "", On("used"), Requests("cpu", "2", "memory", "4Gi")))
	got := cycle.Explain(c.Rules, c.Cache.Fresh(), Parse(t, Pod("p", "", Requests("cpu", "1", "memory", "2Gi"))))
	if len(got) != 3 || got[0].Node != "empty" || got[1].Node != "used" || got[2].Rule != "NodeUnschedulable" {
		t.Fatalf("got %+v", got)
	}
	if got[0].Scores["NodeResourcesFit"] != 75 {
		t.Errorf("scores are %v", got[0].Scores)
	}
}
