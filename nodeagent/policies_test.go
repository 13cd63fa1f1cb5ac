package nodeagent

import (
	"net/netip"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// TestPoliciesKnowWhichPodIsNew: a pod that was connected here is known before
// the API tells its addresses, until another of its name follows.
func TestPoliciesKnowWhichPodIsNew(t *testing.T) {
	pod := func(uid types.UID, version, node, ip string) *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "db-0", UID: uid, ResourceVersion: version}, Spec: corev1.PodSpec{NodeName: node}}
		if ip != "" {
			p.Status.PodIPs = []corev1.PodIP{{IP: ip}}
		}
		return p
	}
	own := []netip.Addr{netip.MustParseAddr("10.0.1.2")}
	for _, c := range []struct {
		name  string
		told  *corev1.Pod
		want  string
		local bool
	}{
		{"the API does not tell its address yet", pod("new", "9", "here", ""), "10.0.1.2", true},
		{"the API tells of an earlier one late", pod("old", "6", "elsewhere", "10.0.7.7"), "10.0.1.2", true},
		{"the next one is on another node", pod("next", "12", "elsewhere", "10.0.7.8"), "10.0.7.8", false},
		{"the next one is here and not connected yet", pod("next", "12", "here", ""), "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPolicies(nil, "here", "none")
			connected := pod("new", "8", "here", "")
			p.connected[keyOf(connected)] = connectedPod{connected.UID, connected.ResourceVersion, own}
			p.setPod(connected)
			p.setPod(c.told)
			got := p.model.Pod(keyOf(connected))
			var want []netip.Addr
			if c.want != "" {
				want = []netip.Addr{netip.MustParseAddr(c.want)}
			}
			if got == nil || !slices.Equal(got.IPs, want) || got.Local != c.local {
				t.Errorf("got %+v, want addresses %v, local %v", got, want, c.local)
			}
		})
	}
}

func TestPoliciesForgetWhatIsGone(t *testing.T) {
	p := newPolicies(nil, "here", "none")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "x", Name: "db-0", UID: "new"}}
	before := pod.DeepCopy()
	before.UID = "old"
	p.connected[keyOf(pod)] = connectedPod{uid: pod.UID}
	if p.forget(before); len(p.connected) != 1 {
		t.Error("a pod of its name that was before takes it along")
	}
	if p.forget(pod); len(p.connected) != 0 {
		t.Errorf("left: %v", p.connected)
	}
}
