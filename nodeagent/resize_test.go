package nodeagent_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/nodeagent"
	"github.com/skiffcluster/skiff/nodeagent/allocation"
	"github.com/skiffcluster/skiff/nodeagent/runtime/simulated"
)

func TestPlanResize(t *testing.T) {
	asks := func(uid types.UID, cpu string, change ...func(*corev1.Pod)) *corev1.Pod {
		return newPod(string(uid), "", append(change, requests(cpu), func(p *corev1.Pod) { p.UID, p.Generation = uid, 7 })...)
	}
	has := func(cpu string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "main", Resources: &corev1.ResourceRequirements{Requests: quantities(cpu)}}}
		}
	}
	for _, tt := range []struct {
		name             string
		allocated, wants string // CPU
		others           []*corev1.Pod
		reason, message  string
	}{
		{name: "what the node has is granted", allocated: "1", wants: "2"},
		{name: "beside what others have", allocated: "1", wants: "2", others: []*corev1.Pod{asks("b", "2")}},
		{name: "the pod does not stand in its own way", allocated: "3", wants: "4", others: []*corev1.Pod{asks("a", "3")}},
		{name: "what others have waits until they are gone", allocated: "1", wants: "2", others: []*corev1.Pod{asks("b", "3")},
			reason: "Deferred", message: "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"},
		{name: "what others still use counts", allocated: "1", wants: "2", others: []*corev1.Pod{asks("b", "1", has("3"))},
			reason: "Deferred", message: "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"},
		{name: "what the node never has is infeasible", allocated: "1", wants: "5",
			reason: "Infeasible", message: "Node didn't have enough capacity: cpu, requested: 5000, capacity: 4000"},
		{name: "who wants less gets it, however full the node is", allocated: "4", wants: "3", others: []*corev1.Pod{asks("b", "4")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wish := &allocation.Wish{Pod: asks("a", tt.wants), Allocated: asks("a", tt.allocated)}
			allocatable := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4"), corev1.ResourceMemory: resource.MustParse("1Gi"), corev1.ResourcePods: resource.MustParse("10")}
			got := nodeagent.PlanResize(wish, tt.others, allocatable)
			if got == nil {
				if tt.reason != "" {
					t.Error("granted")
				}
				return
			}
			if got.Reason != tt.reason || got.Message != tt.message || got.Generation != 7 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func quantities(cpu string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
}

func requests(cpu string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = quantities(cpu) }
}

// smallNode is a node in memory with four CPUs.
func smallNode(t *testing.T, c *clustertest.Cluster) {
	t.Helper()
	ensureServiceAccount(t, c.Client())
	start(t, nodeagent.Config{
		REST: c.RESTConfig(), NodeName: "small", Runtime: simulated.New(nil), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")},
		Capacity: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("4")},
	})
}

// resize asks for other resources of a pod's container main.
func resize(t *testing.T, c client.Client, pod *corev1.Pod, resources corev1.ResourceRequirements) {
	t.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"containers": []any{map[string]any{"name": "main", "resources": resources}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.SubResource("resize").Patch(t.Context(), pod, client.RawPatch(types.StrategicMergePatchType, patch)); err != nil {
		t.Fatal(err)
	}
}

// resized says that a pod has what it asks for, and says so.
func resized(p *corev1.Pod) bool {
	want, s := &p.Spec.Containers[0].Resources, p.Status.ContainerStatuses
	return p.Status.ObservedGeneration == p.Generation && resizeCondition(p, "") == "" && isReady(p) && s[0].Resources != nil &&
		fmt.Sprint(s[0].Resources.Requests.Cpu(), s[0].Resources.Limits.Cpu(), s[0].Resources.Limits.Memory()) == fmt.Sprint(want.Requests.Cpu(), want.Limits.Cpu(), want.Limits.Memory())
}

// resizeCondition gives the reasons of the pod's conditions about a resize, of
// one type if it is given.
func resizeCondition(p *corev1.Pod, only corev1.PodConditionType) string {
	var out []string
	for _, c := range p.Status.Conditions {
		if (c.Type == corev1.PodResizePending || c.Type == corev1.PodResizeInProgress) && (only == "" || only == c.Type) {
			out = append(out, fmt.Sprintf("%s=%s", c.Type, c.Reason))
		}
	}
	return strings.Join(out, " ")
}

func waitEvents(t *testing.T, c client.Client, pod *corev1.Pod, reasons ...string) {
	t.Helper()
	eventually(t, fmt.Sprintf("events %v", reasons), func() (bool, string) {
		var list corev1.EventList
		if err := c.List(t.Context(), &list); err != nil {
			return false, err.Error()
		}
		var got []string
		for _, e := range list.Items {
			if e.InvolvedObject.Name == pod.Name {
				got = append(got, e.Reason)
			}
		}
		for _, reason := range reasons {
			if !slices.Contains(got, reason) {
				return false, fmt.Sprint(got)
			}
		}
		return true, ""
	})
}

func TestSimulatedPodIsResized(t *testing.T) {
	c := clustertest.APIServer(t)
	smallNode(t, c)
	pod := newPod("web", "small", requests("1"), func(p *corev1.Pod) {
		p.Spec.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer}}
	})
	create(t, c.Client(), pod)
	before := waitPod(t, c.Client(), pod, "pod is ready", isReady)
	if got := before.Status.AllocatedResources.Cpu().String() + " " + before.Status.Resources.Requests.Cpu().String(); got != "1 1" {
		t.Errorf("the pod as a whole has %s", got)
	}

	resize(t, c.Client(), pod, corev1.ResourceRequirements{Requests: quantities("2"), Limits: quantities("3")})
	got := waitPod(t, c.Client(), pod, "it has two CPUs", resized)
	if s := got.Status.ContainerStatuses[0]; s.RestartCount != 0 || s.AllocatedResources.Cpu().String() != "2" {
		t.Errorf("got %+v", s)
	}
	waitEvents(t, c.Client(), pod, "ResizeStarted", "ResizeCompleted")

	resize(t, c.Client(), pod, corev1.ResourceRequirements{Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")}})
	got = waitPod(t, c.Client(), pod, "it has a limit, and started anew for it", func(p *corev1.Pod) bool {
		return resized(p) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	if limit := got.Status.ContainerStatuses[0].Resources.Limits.Memory().String(); limit != "1Gi" {
		t.Errorf("got %s", limit)
	}
}

func TestResizeWaitsForRoom(t *testing.T) {
	c := clustertest.APIServer(t)
	smallNode(t, c)
	first, second := newPod("first", "small", requests("2")), newPod("second", "small", requests("2"))
	for _, pod := range []*corev1.Pod{first, second} {
		create(t, c.Client(), pod)
		waitPod(t, c.Client(), pod, "pod is ready", isReady)
	}
	resize(t, c.Client(), first, corev1.ResourceRequirements{Requests: quantities("3")})
	waits := func(p *corev1.Pod) bool { return resizeCondition(p, "") == "PodResizePending=Deferred" }
	got := waitPod(t, c.Client(), first, "resize is deferred", waits)
	for _, cond := range got.Status.Conditions {
		if cond.Type == corev1.PodResizePending && (cond.ObservedGeneration != got.Generation || cond.Message != "Node didn't have enough resource: cpu, requested: 3000, used: 2000, capacity: 4000") {
			t.Errorf("got %+v", cond)
		}
	}
	if has := got.Status.ContainerStatuses[0].Resources.Requests.Cpu().String(); has != "2" {
		t.Errorf("meanwhile it has %s", has)
	}
	waitEvents(t, c.Client(), first, "ResizeDeferred")

	// Whoever takes the wish back has what he had.
	resize(t, c.Client(), first, corev1.ResourceRequirements{Requests: quantities("2")})
	waitPod(t, c.Client(), first, "nothing is waited for", resized)
	resize(t, c.Client(), first, corev1.ResourceRequirements{Requests: quantities("3")})
	waitPod(t, c.Client(), first, "resize is deferred again", waits)

	// Room appears when another pod shrinks, or goes.
	resize(t, c.Client(), second, corev1.ResourceRequirements{Requests: quantities("1")})
	waitPod(t, c.Client(), first, "there is room", resized)
	resize(t, c.Client(), first, corev1.ResourceRequirements{Requests: quantities("4")})
	waitPod(t, c.Client(), first, "resize is deferred once more", waits)
	deleteAndWait(t, c.Client(), second)
	waitPod(t, c.Client(), first, "there is more room", resized)
}

func TestResizeSurvivesTheAgent(t *testing.T) {
	c := clustertest.APIServer(t)
	ensureServiceAccount(t, c.Client())
	n := realNode(t, c)
	pod := newPod("web", "real", args("sleep"), requests("100m"))
	create(t, c.Client(), pod)
	waitPod(t, c.Client(), pod, "pod is ready", isReady)
	id := containerID(t, c.Client(), pod)
	n.stop()

	// Nobody is there to grant this.
	resize(t, c.Client(), pod, corev1.ResourceRequirements{Requests: quantities("200m"), Limits: quantities("300m")})
	n = start(t, n.cfg)
	got := waitPod(t, c.Client(), pod, "pod is resized", resized)
	if s := got.Status.ContainerStatuses[0]; s.RestartCount != 0 || s.ContainerID != id {
		t.Errorf("the container was started anew: %+v", s)
	}
	waitEvents(t, c.Client(), pod, "ResizeStarted", "ResizeCompleted")

	// What was granted is remembered.
	n.stop()
	<-start(t, n.cfg).Ready()
	waitPod(t, c.Client(), pod, "pod has what it had", resized)
	var events corev1.EventList
	if err := c.Client().List(t.Context(), &events); err != nil {
		t.Fatal(err)
	}
	started := 0
	for _, e := range events.Items {
		if e.Reason == "ResizeStarted" {
			started += int(max(e.Count, 1))
		}
	}
	if started != 1 {
		t.Errorf("resized %d times", started)
	}
	deleteAndWait(t, c.Client(), pod)
}

// TestRemovedPodTakesNoRoom deletes a pod by force: it is gone from the API at
// once, and its container takes seconds to end.
func TestRemovedPodTakesNoRoom(t *testing.T) {
	c := clustertest.APIServer(t)
	ensureServiceAccount(t, c.Client())
	realNode(t, c)
	node := &corev1.Node{}
	eventually(t, "node is there", func() (bool, string) {
		err := c.Client().Get(t.Context(), client.ObjectKey{Name: "real"}, node)
		return err == nil, fmt.Sprint(err)
	})
	all := node.Status.Allocatable.Cpu().String()
	first, second := newPod("first", "real", args("stubborn"), requests(all)), newPod("second", "real", args("sleep"), requests(all))
	create(t, c.Client(), first)
	waitPod(t, c.Client(), first, "pod is ready", isReady)
	if err := c.Client().Delete(t.Context(), first, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	create(t, c.Client(), second)
	waitPod(t, c.Client(), second, "it takes the room of the first", isReady)
	deleteAndWait(t, c.Client(), second)
}

func containerID(t *testing.T, c client.Client, pod *corev1.Pod) string {
	t.Helper()
	got := &corev1.Pod{}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), got); err != nil {
		t.Fatal(err)
	}
	return got.Status.ContainerStatuses[0].ContainerID
}
