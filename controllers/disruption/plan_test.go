package disruption

import (
	"errors"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestPlanExpected(t *testing.T) {
	number, share := func(n int) *intstr.IntOrString { return ptr.To(intstr.FromInt(n)) }, func(s string) *intstr.IntOrString { return ptr.To(intstr.FromString(s)) }
	for _, c := range []struct {
		name              string
		least, most       *intstr.IntOrString
		pods              int
		replicas          int32
		expected, desired int32
		scale             bool
	}{
		{name: "a number that must stay is about the pods there are", least: number(2), pods: 5, replicas: 9, expected: 5, desired: 2},
		{name: "a share that must stay is rounded up", least: share("50%"), pods: 1, replicas: 5, expected: 5, desired: 3, scale: true},
		{name: "a number that may go is taken from the scale", most: number(1), pods: 1, replicas: 5, expected: 5, desired: 4, scale: true},
		{name: "a share that may go is rounded up", most: share("30%"), pods: 1, replicas: 5, expected: 5, desired: 3, scale: true},
		{name: "no more can go than there are", most: number(9), pods: 1, replicas: 5, expected: 5, desired: 0, scale: true},
		{name: "a budget that says nothing expects nothing", pods: 3, replicas: 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			budget := &policyv1.PodDisruptionBudget{Spec: policyv1.PodDisruptionBudgetSpec{MinAvailable: c.least, MaxUnavailable: c.most}}
			expected, desired, err := planExpected(budget, c.pods, c.replicas)
			if err != nil || expected != c.expected || desired != c.desired {
				t.Errorf("expects %d, %d healthy (%v), want %d, %d", expected, desired, err, c.expected, c.desired)
			}
			if needsScale(budget) != c.scale {
				t.Errorf("needs scale: %t", !c.scale)
			}
		})
	}
}

func pod(name string, ready bool) *corev1.Pod {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}},
	}
}

func TestPlanStatus(t *testing.T) {
	leaving := pod("leaving", true)
	leaving.DeletionTimestamp = &metav1.Time{Time: epoch}
	evicted := func(age time.Duration) map[string]metav1.Time {
		return map[string]metav1.Time{"a": {Time: epoch.Add(-age)}, "gone": {Time: epoch}}
	}
	for _, c := range []struct {
		name              string
		pods              []*corev1.Pod
		disrupted         map[string]metav1.Time
		expected, desired int32
		healthy, allowed  int32
		noted             int
		recheck           time.Duration
		failed            int
	}{
		{name: "what is healthy beyond the need may go", pods: []*corev1.Pod{pod("a", true), pod("b", true), pod("c", false)}, expected: 3, desired: 1, healthy: 2, allowed: 1},
		{name: "pods that leave or are not ready do not count", pods: []*corev1.Pod{leaving, pod("b", true), pod("c", false)}, expected: 3, desired: 1, healthy: 1},
		{name: "fewer than needed allow nothing", pods: []*corev1.Pod{pod("a", true)}, expected: 3, desired: 2, healthy: 1},
		{name: "nothing expected allows nothing", pods: []*corev1.Pod{pod("a", true)}, healthy: 1},
		{name: "an eviction under way counts as gone, one of a pod that is gone is forgotten", pods: []*corev1.Pod{pod("a", true), pod("b", true)}, disrupted: evicted(time.Minute), expected: 2, healthy: 1, allowed: 1, noted: 1, recheck: time.Minute},
		{name: "an eviction that did not happen counts no more", pods: []*corev1.Pod{pod("a", true), pod("b", true)}, disrupted: evicted(3 * time.Minute), expected: 2, healthy: 2, allowed: 2, failed: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Generation: 4}, Status: policyv1.PodDisruptionBudgetStatus{DisruptedPods: c.disrupted}}
			plan := planStatus(budget, c.pods, c.expected, c.desired, epoch)
			s := plan.status
			if s.CurrentHealthy != c.healthy || s.DisruptionsAllowed != c.allowed || s.ExpectedPods != c.expected || s.DesiredHealthy != c.desired || s.ObservedGeneration != 4 {
				t.Errorf("status %+v", s)
			}
			if len(s.DisruptedPods) != c.noted || plan.recheck != c.recheck || len(plan.notDeleted) != c.failed {
				t.Errorf("noted %v, again in %s, failed %d", s.DisruptedPods, plan.recheck, len(plan.notDeleted))
			}
			reason := policyv1.InsufficientPodsReason
			if c.allowed > 0 {
				reason = policyv1.SufficientPodsReason
			}
			if got := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition); got == nil || got.Reason != reason || (got.Status == metav1.ConditionTrue) != (c.allowed > 0) {
				t.Errorf("condition %+v", got)
			}
		})
	}
}

func TestAFailureAllowsNothing(t *testing.T) {
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Generation: 4}, Status: policyv1.PodDisruptionBudgetStatus{DisruptionsAllowed: 2, ObservedGeneration: 3}}
	status := planFailure(budget, errors.New("no scale"))
	c := meta.FindStatusCondition(status.Conditions, policyv1.DisruptionAllowedCondition)
	if status.DisruptionsAllowed != 0 || status.ObservedGeneration != 3 || c == nil || c.Reason != policyv1.SyncFailedReason || c.Message != "no scale" {
		t.Errorf("status %+v", status)
	}
}

func TestStaleIn(t *testing.T) {
	target := func(reason string, age time.Duration, change func(*corev1.Pod)) *corev1.Pod {
		p := pod("p", true)
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(epoch.Add(-age)),
		})
		if change != nil {
			change(p)
		}
		return p
	}
	for _, c := range []struct {
		name string
		pod  *corev1.Pod
		wait time.Duration
		ok   bool
	}{
		{"a pod that nobody disrupts is left alone", pod("p", true), 0, false},
		{"a pod that is to be evicted has two minutes", target("EvictionByEvictionAPI", 30*time.Second, nil), 90 * time.Second, true},
		{"one that stays is looked at now", target("EvictionByEvictionAPI", time.Hour, nil), 0, true},
		{"one that goes is left alone", target("", time.Hour, func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: epoch} }), 0, false},
		{"one that has ended too", target("", time.Hour, func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), 0, false},
		{"a node agent takes its time", target(corev1.PodReasonTerminationByKubelet, time.Hour, nil), 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if wait, ok := staleIn(c.pod, epoch); wait != c.wait || ok != c.ok {
				t.Errorf("in %s, %t; want %s, %t", wait, ok, c.wait, c.ok)
			}
		})
	}
}
