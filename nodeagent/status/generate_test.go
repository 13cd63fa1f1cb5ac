package status_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/nodeagent/podworker"
	"github.com/skiffcluster/skiff/nodeagent/probe"
	"github.com/skiffcluster/skiff/nodeagent/runtime"
	"github.com/skiffcluster/skiff/nodeagent/status"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func input(change ...func(*status.Input)) status.Input {
	s := podworker.NewState(now)
	s.Attached, s.PodIPs = true, []string{"10.0.0.2"}
	in := status.Input{
		Pod: &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "p", Namespace: "n", UID: "u", Generation: 3},
			Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "main", Image: "image"}}},
		},
		Observed: podworker.Observed{
			Sandbox: &runtime.Sandbox{CreatedAt: now},
			Probes:  func(string) (probe.State, bool) { return probe.State{Started: true, Ready: true}, true },
		},
		State: s, HostIPs: []string{"192.0.2.1"}, RuntimeName: "containerd", Now: now,
	}
	for _, f := range change {
		f(&in)
	}
	return in
}

func container(state runtime.State, change ...func(*runtime.Container)) func(*status.Input) {
	return func(in *status.Input) {
		c := runtime.Container{ID: "id", Name: "main", Kind: runtime.Regular, State: state, CreatedAt: now, StartedAt: now, ImageID: "image@sha256:0"}
		if state == runtime.Exited {
			c.FinishedAt = now
		}
		for _, f := range change {
			f(&c)
		}
		in.Observed.Containers = append(in.Observed.Containers, c)
	}
}

func code(n int) func(*runtime.Container) { return func(c *runtime.Container) { c.ExitCode = n } }
func policy(p corev1.RestartPolicy) func(*status.Input) {
	return func(in *status.Input) { in.Pod.Spec.RestartPolicy = p }
}

func TestGenerate(t *testing.T) {
	for _, tt := range []struct {
		name                string
		change              []func(*status.Input)
		phase               corev1.PodPhase
		waiting, terminated string // reasons
		ready               string // reason of the Ready condition, "True" if it holds
	}{
		{"a pod without containers is pending", nil, corev1.PodPending, "ContainerCreating", "", "ContainersNotReady"},
		{"init containers are told of", []func(*status.Input){func(in *status.Input) {
			in.Pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
		}}, corev1.PodPending, "PodInitializing", "", "ContainersNotReady"},
		{"a running container makes a pod ready", []func(*status.Input){container(runtime.Running)}, corev1.PodRunning, "", "", "True"},
		{"a probe keeps it from being ready", []func(*status.Input){container(runtime.Running), func(in *status.Input) {
			in.Observed.Probes = func(string) (probe.State, bool) { return probe.State{Started: true}, true }
		}}, corev1.PodRunning, "", "", "ContainersNotReady"},
		{"a readiness gate keeps it from being ready", []func(*status.Input){container(runtime.Running), func(in *status.Input) {
			in.Pod.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "gate"}}
		}}, corev1.PodRunning, "", "", "ReadinessGatesNotReady"},
		{"a container that ended well is completed", []func(*status.Input){policy(corev1.RestartPolicyNever), container(runtime.Exited)}, corev1.PodSucceeded, "", "Completed", "PodCompleted"},
		{"a container that ended badly has failed", []func(*status.Input){policy(corev1.RestartPolicyNever), container(runtime.Exited, code(1))}, corev1.PodFailed, "", "Error", "PodFailed"},
		{"a container killed for memory says so", []func(*status.Input){policy(corev1.RestartPolicyNever), container(runtime.Exited, code(137), func(c *runtime.Container) { c.OOMKilled = true })}, corev1.PodFailed, "", "OOMKilled", "PodFailed"},
		{"a container that could not start says so", []func(*status.Input){policy(corev1.RestartPolicyNever), container(runtime.Exited, code(128), func(c *runtime.Container) {
			c.StartedAt, c.Message = time.Time{}, "no such file"
		})}, corev1.PodFailed, "", "StartError", "PodFailed"},
		{"a container that failed runs again under OnFailure", []func(*status.Input){policy(corev1.RestartPolicyOnFailure), container(runtime.Exited, code(1))}, corev1.PodRunning, "", "Error", "ContainersNotReady"},
		{"back-off is shown", []func(*status.Input){container(runtime.Exited, code(1)), func(in *status.Input) {
			in.State.Failures[podworker.StartKey("main")] = podworker.Failure{Reason: podworker.CrashLoopBackOff, Message: "back-off"}
		}}, corev1.PodRunning, "CrashLoopBackOff", "", "ContainersNotReady"},
		{"a deleted pod ends as its containers did", []func(*status.Input){container(runtime.Exited), func(in *status.Input) {
			in.Pod.DeletionTimestamp, in.State.TornDown = &metav1.Time{Time: now}, true
		}}, corev1.PodSucceeded, "", "Completed", "PodCompleted"},
		{"a pod that never ran has failed when it is deleted", []func(*status.Input){func(in *status.Input) {
			in.Pod.DeletionTimestamp, in.State.TornDown = &metav1.Time{Time: now}, true
		}}, corev1.PodFailed, "ContainerCreating", "", "PodFailed"},
		{"a final phase stays", []func(*status.Input){container(runtime.Running), func(in *status.Input) { in.Pod.Status.Phase = corev1.PodFailed }}, corev1.PodFailed, "", "", "PodFailed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := status.Generate(input(tt.change...))
			c := got.ContainerStatuses[0]
			waiting, terminated := "", ""
			if c.State.Waiting != nil {
				waiting = c.State.Waiting.Reason
			}
			if c.State.Terminated != nil {
				terminated = c.State.Terminated.Reason
			}
			ready := ""
			for _, cond := range got.Conditions {
				if cond.Type == corev1.PodReady {
					ready = cond.Reason
					if cond.Status == corev1.ConditionTrue {
						ready = "True"
					}
				}
			}
			if got.Phase != tt.phase || waiting != tt.waiting || terminated != tt.terminated || ready != tt.ready {
				t.Errorf("got phase %s, waiting %q, terminated %q, ready %q", got.Phase, waiting, terminated, ready)
			}
			if got.ObservedGeneration != 3 || got.PodIP != "10.0.0.2" || got.HostIP != "192.0.2.1" || got.StartTime == nil {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestInitContainersAreReadyOnceTheyHaveEndedWell(t *testing.T) {
	sidecar := func(in *status.Input) {
		in.Pod.Spec.InitContainers[0].RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
	}
	for _, tt := range []struct {
		name        string
		state       runtime.State
		code        int
		change      func(*status.Input)
		ready       bool
		initialized string // message of the condition
	}{
		{"one that runs is not", runtime.Running, 0, nil, false, "containers with incomplete status: [init]"},
		{"one that failed is not", runtime.Exited, 1, nil, false, "containers with incomplete status: [init]"},
		{"one that ended well is", runtime.Exited, 0, nil, true, ""},
		{"a sidecar is while it runs", runtime.Running, 0, sidecar, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := []func(*status.Input){container(tt.state, code(tt.code), func(c *runtime.Container) { c.Name, c.Kind = "init", runtime.Init }), func(in *status.Input) {
				in.Pod.Spec.InitContainers = []corev1.Container{{Name: "init"}}
			}}
			if tt.change != nil {
				change = append(change, tt.change)
			}
			got := status.Generate(input(change...))
			if ready := got.InitContainerStatuses[0].Ready; ready != tt.ready {
				t.Errorf("ready: %v", ready)
			}
			for _, c := range got.Conditions {
				if c.Type == corev1.PodInitialized && c.Message != tt.initialized {
					t.Errorf("%+v", c)
				}
			}
		})
	}
}

func TestPatch(t *testing.T) {
	first := status.Generate(input())
	second := status.Generate(input(container(runtime.Running)))
	if got := status.Patch(&first, &first); got != nil {
		t.Errorf("of the same: got %v", got)
	}
	got := status.Patch(&first, &second)
	for _, field := range []string{"phase", "containerStatuses", "conditions"} {
		if _, ok := got[field]; !ok {
			t.Errorf("%s is missing from %v", field, got)
		}
	}
	if len(got) != 3 {
		t.Errorf("more than what has changed: %v", got)
	}
	// Ready and ContainersReady have changed, the others have not.
	if conditions := got["conditions"].([]corev1.PodCondition); len(conditions) != 2 {
		t.Errorf("got %+v", conditions)
	}
	moved := second
	moved.PodIPs = []corev1.PodIP{{IP: "10.0.0.3"}}
	if list := status.Patch(&second, &moved)["podIPs"].([]any); len(list) != 2 {
		t.Errorf("a replaced list has to say so: got %v", list)
	}
}
