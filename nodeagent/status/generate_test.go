package status_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

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
	if conditions := got["conditions"].([]any); len(conditions) != 2 {
		t.Errorf("got %+v", conditions)
	}
	moved := second
	moved.PodIPs = []corev1.PodIP{{IP: "10.0.0.3"}}
	if list := status.Patch(&second, &moved)["podIPs"].([]any); len(list) != 2 {
		t.Errorf("a replaced list has to say so: got %v", list)
	}
}

// TestResize is what a status says of a pod whose spec, as it was allocated, and
// whose container have different resources.
func TestResize(t *testing.T) {
	quantities := func(cpu string) corev1.ResourceList {
		return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	allocated := func(in *status.Input) {
		in.Pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: quantities("2"), Limits: quantities("2")}
		in.Observed.Sandbox.Resources = runtime.Resources{CPUShares: 1024, CPURequest: 1000, CPUQuota: 100_000, CPULimit: 1000}
	}
	has := func(c *runtime.Container) {
		c.Resources = runtime.Resources{CPUShares: 1024, CPURequest: 1000, CPUQuota: 100_000, CPULimit: 1000}
	}
	resizing := func(r *podworker.Resize) func(*status.Input) {
		return func(in *status.Input) { in.State.Resizing = r }
	}
	pending := func(in *status.Input) {
		in.State.Pending = &podworker.Resize{Reason: corev1.PodReasonDeferred, Message: "no room", Generation: 4}
	}
	for _, tt := range []struct {
		name       string
		change     []func(*status.Input)
		has        string // of the container and of the pod
		conditions string
	}{
		{"a running container has what the runtime says", []func(*status.Input){allocated, container(runtime.Running, has)}, "1 1", ""},
		{"one that has ended will have what was allocated", []func(*status.Input){allocated, container(runtime.Exited, has, code(1))}, "2 1", ""},
		{"a resize under way tells of its generation", []func(*status.Input){allocated, container(runtime.Running, has), resizing(&podworker.Resize{Generation: 2})},
			"1 1", "PodResizeInProgress=True,,,2"},
		{"one that failed tells why", []func(*status.Input){allocated, container(runtime.Running, has), resizing(&podworker.Resize{Reason: "Error", Message: "too small", Generation: 2})},
			"1 1", "PodResizeInProgress=True,Error,too small,2"},
		{"another may wait meanwhile", []func(*status.Input){allocated, container(runtime.Running, has), resizing(&podworker.Resize{Generation: 2}), pending},
			"1 1", "PodResizePending=True,Deferred,no room,4 PodResizeInProgress=True,,,2"},
		{"a pod that has ended waits for nothing", []func(*status.Input){allocated, policy(corev1.RestartPolicyNever), container(runtime.Exited, has), pending},
			"2 2", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := status.Generate(input(tt.change...))
			c := got.ContainerStatuses[0]
			if text := c.Resources.Limits.Cpu().String() + " " + got.Resources.Limits.Cpu().String(); text != tt.has {
				t.Errorf("got %s, want %s", text, tt.has)
			}
			if c.AllocatedResources.Cpu().String() != "2" || got.AllocatedResources.Cpu().String() != "2" {
				t.Errorf("allocated: got %v and %v", c.AllocatedResources, got.AllocatedResources)
			}
			var conditions []string
			for _, c := range got.Conditions {
				if strings.HasPrefix(string(c.Type), "PodResize") {
					conditions = append(conditions, fmt.Sprintf("%s=%s,%s,%s,%d", c.Type, c.Status, c.Reason, c.Message, c.ObservedGeneration))
				}
			}
			if text := strings.Join(conditions, " "); text != tt.conditions {
				t.Errorf("got %q, want %q", text, tt.conditions)
			}
		})
	}
}

func TestPatchOfResize(t *testing.T) {
	during := status.Generate(input(container(runtime.Running), func(in *status.Input) { in.State.Resizing = &podworker.Resize{Generation: 2} }))
	after := status.Generate(input(container(runtime.Running), func(in *status.Input) { in.Pod.Status = during }))
	got := status.Patch(&during, &after)
	want := map[string]any{"conditions": []any{map[string]any{"type": corev1.PodResizeInProgress, "$patch": "delete"}}}
	if !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("a condition that is over has to be deleted: got %v", got)
	}
}

func TestPatchOfQuantities(t *testing.T) {
	list := func(names ...corev1.ResourceName) corev1.ResourceList {
		out := corev1.ResourceList{}
		for _, name := range names {
			out[name] = resource.MustParse("1")
		}
		return out
	}
	from := corev1.PodStatus{AllocatedResources: list("cpu", "memory"), Resources: &corev1.ResourceRequirements{Requests: list("cpu"), Limits: list("memory")}}
	to := corev1.PodStatus{AllocatedResources: list("cpu"), Resources: &corev1.ResourceRequirements{Requests: list("cpu", "memory")}}
	none := corev1.PodStatus{}
	for _, tt := range []struct {
		name     string
		from, to corev1.PodStatus
	}{
		{"a resource that is gone is taken away", from, to},
		{"and comes back", to, from},
		{"there may have been none", none, to},
		{"there may be none any more", from, none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			patch, err := json.Marshal(status.Patch(&tt.from, &tt.to))
			if err != nil {
				t.Fatal(err)
			}
			before, err := json.Marshal(tt.from)
			if err != nil {
				t.Fatal(err)
			}
			after, err := strategicpatch.StrategicMergePatch(before, patch, corev1.PodStatus{})
			if err != nil {
				t.Fatal(err)
			}
			var got corev1.PodStatus
			if err := json.Unmarshal(after, &got); err != nil {
				t.Fatal(err)
			}
			if !equality.Semantic.DeepEqual(got, tt.to) {
				t.Errorf("%s makes %s", patch, after)
			}
		})
	}
}
