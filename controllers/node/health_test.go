package node

import (
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

// testNode has a Ready condition of this status, none when it is empty, posted
// at a second.
func testNode(ready corev1.ConditionStatus, posted int, change ...func(*corev1.Node)) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1", UID: "uid-1", CreationTimestamp: metav1.NewTime(epoch)}}
	if ready != "" {
		n.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.NewTime(at(posted)), LastTransitionTime: metav1.NewTime(epoch),
		}}
	}
	for _, c := range change {
		c(n)
	}
	return n
}

func lease(renewed int) *coordinationv1.Lease {
	return &coordinationv1.Lease{Spec: coordinationv1.LeaseSpec{RenewTime: &metav1.MicroTime{Time: at(renewed)}}}
}

func TestSilence(t *testing.T) {
	type look struct {
		at     int
		node   *corev1.Node
		lease  *coordinationv1.Lease
		silent bool
	}
	ready := func(posted int) *corev1.Node { return testNode(corev1.ConditionTrue, posted) }
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{"a node that posts nothing is silent after 40 s", []look{
			{0, ready(0), nil, false}, {40, ready(0), nil, false}, {41, ready(0), nil, true},
		}},
		{"a heartbeat starts the time again", []look{
			{0, ready(0), nil, false}, {35, ready(34), nil, false}, {75, ready(34), nil, false}, {76, ready(34), nil, true},
		}},
		{"so does a renewed lease", []look{
			{0, ready(0), lease(0), false}, {35, ready(0), lease(30), false}, {75, ready(0), lease(30), false}, {76, ready(0), lease(30), true},
		}},
		{"a node with its clock hours ahead or behind is as alive", []look{
			{0, ready(-7200), lease(7200), false}, {39, ready(-7200), lease(7201), false}, {79, ready(-7200), lease(7201), false}, {80, ready(-7200), lease(7201), true},
		}},
		{"a lease that goes back in time is no sign of life", []look{
			{0, ready(0), lease(10), false}, {30, ready(0), lease(5), false}, {41, ready(0), lease(5), true},
		}},
		{"a node that has never posted has 60 s from its creation", []look{
			{30, testNode("", 0), nil, false}, {60, testNode("", 0), nil, false}, {61, testNode("", 0), nil, true},
		}},
		{"its first post is a sign of life", []look{
			{50, testNode("", 0), nil, false}, {58, ready(57), nil, false}, {98, ready(57), nil, false}, {99, ready(57), nil, true},
		}},
		{"a controller that has just begun gives everybody the full time", []look{
			{1000, ready(0), lease(1), false}, {1040, ready(0), lease(1), false}, {1041, ready(0), lease(1), true},
		}},
		{"a node that speaks again is heard", []look{
			{0, ready(0), nil, false}, {50, ready(0), nil, true}, {55, ready(54), nil, false},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var before *health
			for _, look := range c.looks {
				h := observe(before, look.node, look.lease, at(look.at))
				if got := h.silent(at(look.at), 40*time.Second, time.Minute); got != look.silent {
					t.Errorf("at %d s silent is %v, want %v", look.at, got, look.silent)
				}
				before = &h
			}
		})
	}
}

func TestPlanUnknown(t *testing.T) {
	node := testNode(corev1.ConditionTrue, 0, func(n *corev1.Node) {
		n.Status.Conditions = append(n.Status.Conditions,
			corev1.NodeCondition{Type: corev1.NodeDiskPressure, Status: corev1.ConditionFalse},
			corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionFalse, Reason: "RouteCreated"})
	})
	node.Status.Conditions = planUnknown(node, at(50))
	want := map[corev1.NodeConditionType]string{
		corev1.NodeReady:              "Unknown NodeStatusUnknown Kubelet stopped posting node status.",
		corev1.NodeDiskPressure:       "Unknown NodeStatusUnknown Kubelet stopped posting node status.",
		corev1.NodeMemoryPressure:     "Unknown NodeStatusNeverUpdated Kubelet never posted node status.",
		corev1.NodePIDPressure:        "Unknown NodeStatusNeverUpdated Kubelet never posted node status.",
		corev1.NodeNetworkUnavailable: "False RouteCreated ",
	}
	for kind, text := range want {
		c := condition(node, kind)
		if got := string(c.Status) + " " + c.Reason + " " + c.Message; got != text {
			t.Errorf("%s is %q, want %q", kind, got, text)
		}
	}
	if ready := condition(node, corev1.NodeReady); !ready.LastTransitionTime.Time.Equal(at(50)) || !ready.LastHeartbeatTime.Time.Equal(epoch) {
		t.Errorf("Ready has times %v and %v", ready.LastTransitionTime, ready.LastHeartbeatTime)
	}
	if again := planUnknown(node, at(55)); again != nil {
		t.Errorf("a node that is marked is marked again: %v", again)
	}
}
