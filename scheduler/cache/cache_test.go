package cache_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/scheduler/cache"
	. "github.com/skiffcluster/skiff/scheduler/plugins/pluginstest"
)

func TestAssumedPodIsConfirmedForgottenOrRemoved(t *testing.T) {
	c := cache.New()
	c.SetNode(Node("n1", ""))
	c.SetNode(Node("n2", ""))
	s := &cache.Snapshot{}
	cpu := func(node string) int64 {
		c.Update(s)
		return s.Node(node).Requested.MilliCPU
	}
	p := Parse(t, Pod("p", "", Requests("cpu", "1")))
	if err := c.Assume(p, "n1"); err != nil || cpu("n1") != 1000 {
		t.Fatalf("assume: %v, %d used", err, cpu("n1"))
	}
	if err := c.Assume(p, "n2"); !errors.Is(err, cache.ErrAssumed) {
		t.Errorf("assumed twice: %v", err)
	}
	c.Forget("p")
	if cpu("n1") != 0 {
		t.Errorf("forgotten pod still uses %d", cpu("n1"))
	}
	if err := c.Assume(p, "n1"); err != nil {
		t.Fatal(err)
	}
	// The watch shows it on another node: somebody else was faster.
	c.SetPod(Parse(t, Pod("p", "", On("n2"), Requests("cpu", "1"))))
	c.Forget("p") // the bind failed, too late
	if cpu("n1") != 0 || cpu("n2") != 1000 {
		t.Errorf("after the watch: %d and %d used", cpu("n1"), cpu("n2"))
	}
	c.RemovePod("p")
	if cpu("n2") != 0 {
		t.Errorf("removed pod still uses %d", cpu("n2"))
	}
}

func TestPodsBeforeTheirNodeAndAfterIt(t *testing.T) {
	c := cache.New()
	s := &cache.Snapshot{}
	c.SetPod(Parse(t, Pod("p", "", On("n1"), Requests("cpu", "1"))))
	c.Update(s)
	if len(s.Nodes) != 0 {
		t.Fatal("a node that is not there is in the snapshot")
	}
	c.SetNode(Node("n1", ""))
	c.Update(s)
	if s.Node("n1").Requested.MilliCPU != 1000 {
		t.Error("the pod that came first is not counted")
	}
	c.RemoveNode("n1")
	c.Update(s)
	if len(s.Nodes) != 0 || s.Node("n1") != nil {
		t.Error("a removed node is in the snapshot")
	}
	c.SetNode(Node("n1", ""))
	c.Update(s)
	if s.Node("n1").Requested.MilliCPU != 1000 {
		t.Error("the pod is not counted once the node is back")
	}
}

func TestZonesTakeTurns(t *testing.T) {
	c := cache.New()
	for i, zone := range []string{"a", "a", "a", "b", "c"} {
		c.SetNode(Node(fmt.Sprintf("n%d", i), zone))
	}
	s := &cache.Snapshot{}
	c.Update(s)
	var got []string
	for _, n := range s.Nodes {
		got = append(got, n.Labels[corev1.LabelTopologyZone])
	}
	if want := []string{"a", "b", "c", "a", "a"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// What is kept from one Update to the next must be the same as what is made
// from nothing.
func TestSnapshotFollowsEveryChange(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := cache.New()
	s := &cache.Snapshot{}
	spec := cache.TallySpec{
		Key: "web", Domain: corev1.LabelTopologyZone,
		Pod: func(p *cache.Pod) bool { return p.Labels["app"] == "web" },
	}
	for step := range 3000 {
		node := fmt.Sprintf("n%d", r.IntN(20))
		switch r.IntN(12) {
		case 0:
			c.RemoveNode(node)
		case 1, 2:
			c.SetNode(Node(node, []string{"", "a", "b"}[r.IntN(3)]))
		case 3, 4:
			c.RemovePod(types.UID(fmt.Sprintf("p%d", r.IntN(100))))
		default:
			name := fmt.Sprintf("p%d", r.IntN(100))
			c.SetPod(Parse(t, Pod(name, []string{"web", "db"}[r.IntN(2)], On(node), Requests("cpu", "100m", "example.com/x", "1"))))
		}
		c.Update(s)
		fresh := c.Fresh()
		kept, made := s.Tally(spec), fresh.Tally(spec)
		if len(s.Nodes) != len(fresh.Nodes) || kept.Domains() != made.Domains() || kept.Pods() != made.Pods() || kept.Least(nil) != made.Least(nil) {
			t.Fatalf("step %d: kept %d nodes, %d domains, %d pods, least %d; made %d, %d, %d, %d", step,
				len(s.Nodes), kept.Domains(), kept.Pods(), kept.Least(nil), len(fresh.Nodes), made.Domains(), made.Pods(), made.Least(nil))
		}
		for i, n := range s.Nodes {
			m := fresh.Nodes[i]
			if n.Name != m.Name || n.Index != i || len(n.Pods) != len(m.Pods) || n.Requested.MilliCPU != int64(100*len(n.Pods)) ||
				n.Requested.Scalar("example.com/x") != int64(len(n.Pods)) {
				t.Fatalf("step %d: node %s is not as it should be: %d pods, requested %+v", step, n.Name, len(n.Pods), n.Requested)
			}
		}
	}
}
