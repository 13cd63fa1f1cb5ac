package replicaset

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

var epoch = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// podOf returns a pod that runs on node "n", is ready for an hour and as old.
func podOf(name string, changes ...func(*corev1.Pod)) *corev1.Pod {
	pod := &corev1.Pod{}
	pod.Name, pod.UID = name, types.UID(name)
	pod.Labels = map[string]string{"app": "web"}
	pod.Spec.NodeName = "n"
	pod.Status.Phase = corev1.PodRunning
	pod.CreationTimestamp = metav1.NewTime(epoch.Add(-time.Hour))
	ready(true, time.Hour)(pod)
	for _, change := range changes {
		change(pod)
	}
	return pod
}

func ready(is bool, ago time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		status := corev1.ConditionFalse
		if is {
			status = corev1.ConditionTrue
		}
		pod.Status.Conditions = []corev1.PodCondition{{
			Type: corev1.PodReady, Status: status, LastTransitionTime: metav1.NewTime(epoch.Add(-ago)),
		}}
	}
}

func on(node string) func(*corev1.Pod) { return func(pod *corev1.Pod) { pod.Spec.NodeName = node } }

func phase(p corev1.PodPhase) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Status.Phase = p }
}

func cost(c string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.Annotations = map[string]string{corev1.PodDeletionCost: c} }
}

func created(ago time.Duration) func(*corev1.Pod) {
	return func(pod *corev1.Pod) { pod.CreationTimestamp = metav1.NewTime(epoch.Add(-ago)) }
}

func restarted(count int32) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "c", RestartCount: count}}
	}
}

func sidecarRestarted(count int32) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		pod.Spec.InitContainers = []corev1.Container{{Name: "s", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}}
		pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "s", RestartCount: count}}
	}
}

func terminatingPod(pod *corev1.Pod) { pod.DeletionTimestamp = ptr.To(metav1.NewTime(epoch)) }

func TestPlanDelete(t *testing.T) {
	// In each case the first pod goes before the second one.
	tests := []struct {
		name    string
		first   *corev1.Pod
		second  *corev1.Pod
		perNode map[string]int
	}{
		{"without a node before with one", podOf("z", on(""), cost("9")), podOf("a", ready(false, 0)), nil},
		{"pending before running", podOf("z", phase(corev1.PodPending), cost("9")), podOf("a", ready(false, 0)), nil},
		{"pending before unknown", podOf("z", phase(corev1.PodPending)), podOf("a", phase(corev1.PodUnknown)), nil},
		{"unknown before running", podOf("z", phase(corev1.PodUnknown)), podOf("a"), nil},
		{"not ready before ready, whatever the cost", podOf("z", ready(false, 0), cost("100")), podOf("a", cost("-100")), nil},
		{"lower cost first", podOf("z", cost("-5")), podOf("a"), nil},
		{"a cost that is no number is none", podOf("z", cost("-1")), podOf("a", cost("-1e9")), nil},
		{"lower cost before the fuller node", podOf("z", on("empty"), cost("1")), podOf("a", on("full"), cost("2")), map[string]int{"full": 5, "empty": 1}},
		{"on the fuller node first", podOf("z", on("full")), podOf("a", on("empty")), map[string]int{"full": 2, "empty": 1}},
		{"ready for a shorter time first", podOf("z", ready(true, time.Minute)), podOf("a"), nil},
		{"nearly the same time is the same: more restarts first", podOf("z", ready(true, 61*time.Minute), restarted(1)), podOf("a", ready(true, time.Hour)), nil},
		{"more restarts of a sidecar first", podOf("z", sidecarRestarted(2)), podOf("a", sidecarRestarted(1)), nil},
		{"a container's restarts before a sidecar's", podOf("z", restarted(1)), podOf("a", sidecarRestarted(5)), nil},
		{"younger first", podOf("z", created(time.Minute)), podOf("a"), nil},
		{"not ready: younger first, not the shorter time", podOf("z", ready(false, time.Hour), created(time.Minute)), podOf("a", ready(false, time.Second)), nil},
		{"equals by UID", podOf("a"), podOf("b"), nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			for _, pods := range [][]*corev1.Pod{{test.first, test.second}, {test.second, test.first}} {
				if got := planDelete(pods, 1, test.perNode, epoch); len(got) != 1 || got[0] != test.first {
					t.Errorf("the second one goes first")
				}
			}
		})
	}
	t.Run("all go when as many are asked for", func(t *testing.T) {
		if got := planDelete([]*corev1.Pod{podOf("a"), podOf("b")}, 2, nil, epoch); len(got) != 2 {
			t.Errorf("got %d pods, want 2", len(got))
		}
	})
}

func TestSortOut(t *testing.T) {
	active, terminating := sortOut([]*corev1.Pod{
		podOf("running"),
		podOf("pending", phase(corev1.PodPending)),
		podOf("unknown", phase(corev1.PodUnknown)),
		podOf("terminating", terminatingPod),
		podOf("failed", phase(corev1.PodFailed)),
		podOf("succeeded", phase(corev1.PodSucceeded)),
		podOf("failed and terminating", phase(corev1.PodFailed), terminatingPod),
	})
	var names []string
	for _, pod := range active {
		names = append(names, pod.Name)
	}
	if got := strings.Join(names, ","); got != "running,pending,unknown" || terminating != 1 {
		t.Errorf("active %s and %d terminating", got, terminating)
	}
}

func TestPlanStatus(t *testing.T) {
	failure := []appsv1.ReplicaSetCondition{{Type: appsv1.ReplicaSetReplicaFailure, Status: "True", Reason: "FailedCreate", Message: "first"}}
	tests := []struct {
		name     string
		active   []*corev1.Pod
		minReady int32
		diff     int
		failure  error
		before   []appsv1.ReplicaSetCondition
		want     string
		wait     time.Duration
	}{
		{"no pods", nil, 0, 0, nil, nil, "0/0/0/0", 0},
		{"pods count, ready or not", []*corev1.Pod{podOf("a"), podOf("b", ready(false, 0))}, 0, 0, nil, nil, "2/2/1/1", 0},
		{
			"a pod that lost a label of the template is not fully labelled",
			[]*corev1.Pod{podOf("a", func(p *corev1.Pod) { p.Labels = nil })}, 0, 0, nil, nil, "1/0/1/1", 0,
		},
		{"ready for too short a time is not available", []*corev1.Pod{podOf("a", ready(true, 4*time.Second))}, 10, 0, nil, nil, "1/1/1/0", 6 * time.Second},
		{
			"the first to become available counts",
			[]*corev1.Pod{podOf("a", ready(true, 4*time.Second)), podOf("b", ready(true, 7*time.Second)), podOf("c", ready(true, 10*time.Second))},
			10, 0, nil, nil, "3/3/3/1", 3 * time.Second,
		},
		{"a failure to create is a condition", nil, 0, -1, errors.New("quota"), nil, "0/0/0/0 ReplicaFailure=FailedCreate: quota", 0},
		{"a failure to delete too", nil, 0, 1, errors.New("no"), nil, "0/0/0/0 ReplicaFailure=FailedDelete: no", 0},
		{"the first failure stays", nil, 0, -1, errors.New("second"), failure, "0/0/0/0 ReplicaFailure=FailedCreate: first", 0},
		{"until all is well", nil, 0, 0, nil, failure, "0/0/0/0", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			set := &appsv1.ReplicaSet{}
			set.Generation = 3
			set.Spec.MinReadySeconds = test.minReady
			set.Spec.Template.Labels = map[string]string{"app": "web"}
			set.Status.Conditions = test.before
			status, wait := planStatus(set, test.active, 2, test.diff, test.failure, epoch)
			got := fmt.Sprintf("%d/%d/%d/%d", status.Replicas, status.FullyLabeledReplicas, status.ReadyReplicas, status.AvailableReplicas)
			for _, c := range status.Conditions {
				got += fmt.Sprintf(" %s=%s: %s", c.Type, c.Reason, c.Message)
			}
			if got != test.want || wait != test.wait {
				t.Errorf("got %q after %s, want %q after %s", got, wait, test.want, test.wait)
			}
			if status.ObservedGeneration != 3 || *status.TerminatingReplicas != 2 {
				t.Errorf("got generation %d and %d terminating", status.ObservedGeneration, *status.TerminatingReplicas)
			}
		})
	}
}

func TestCountsSame(t *testing.T) {
	tests := []struct {
		name   string
		change func(*corev1.Pod)
		want   bool
	}{
		{"being bound", on("other"), true},
		{"starting to run", phase(corev1.PodRunning), true},
		{"getting an address", func(p *corev1.Pod) { p.Status.PodIP = "10.0.0.1" }, true},
		{"an annotation", cost("3"), true},
		{"becoming ready", ready(true, 0), false},
		{"being ready anew", ready(false, time.Second), false},
		{"ending", phase(corev1.PodFailed), false},
		{"terminating", terminatingPod, false},
		{"another label", func(p *corev1.Pod) { p.Labels = map[string]string{"app": "other"} }, false},
		{"another owner", func(p *corev1.Pod) { p.OwnerReferences = []metav1.OwnerReference{{UID: "x"}} }, false},
		{"another pod of that name", func(p *corev1.Pod) { p.UID = "x" }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := podOf("a", phase(corev1.PodPending), ready(false, time.Hour))
			before.ResourceVersion = "1"
			after := before.DeepCopy()
			after.ResourceVersion = "2"
			test.change(after)
			if got := countsSame(before, after); got != test.want {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
}
