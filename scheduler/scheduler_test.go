package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/internal/roomtest"
	"github.com/skiffcluster/skiff/scheduler"
)

// env is an API server without controllers, and what tests do with it.
type env struct {
	*clustertest.Cluster
	t testing.TB
}

// start starts an API server and a scheduler that ends with the test.
func start(t testing.TB, cfg scheduler.Config) *env {
	t.Helper()
	e := newEnv(t)
	e.run(cfg)
	return e
}

// newEnv starts an API server, and makes what controllers would have made.
func newEnv(t testing.TB) *env {
	t.Helper()
	e := &env{Cluster: clustertest.APIServer(t), t: t}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "default"}}
	if err := e.Client().Create(context.Background(), account); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return e
}

// run starts a further scheduler and gives what stops it.
func (e *env) run(cfg scheduler.Config) (stop func()) {
	e.t.Helper()
	cfg.REST = e.RESTConfig()
	s, err := scheduler.New(cfg)
	if err != nil {
		e.t.Fatal(err)
	}
	return roomtest.Run(e.t, s)
}

func (e *env) create(obj client.Object) {
	e.t.Helper()
	want := obj.DeepCopyObject()
	if err := e.Client().Create(context.Background(), obj); err != nil {
		e.t.Fatal(err)
	}
	node, ok := obj.(*corev1.Node)
	if !ok {
		return
	}
	// A new node is tainted until it is ready, and its status is not taken.
	node.Status = want.(*corev1.Node).Status
	if err := e.Client().Status().Update(context.Background(), node); err != nil {
		e.t.Fatal(err)
	}
	node.Spec.Taints = want.(*corev1.Node).Spec.Taints
	if err := e.Client().Update(context.Background(), node); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) delete(obj client.Object) {
	e.t.Helper()
	if err := e.Client().Delete(context.Background(), obj, client.GracePeriodSeconds(0)); err != nil {
		e.t.Fatal(err)
	}
}

func (e *env) pod(name string) *corev1.Pod {
	e.t.Helper()
	pod := &corev1.Pod{}
	if err := e.Client().Get(context.Background(), client.ObjectKey{Namespace: "default", Name: name}, pod); err != nil {
		e.t.Fatal(err)
	}
	return pod
}

// eventually waits for a condition; what it returns last is the failure.
func (e *env) eventually(ok func() (bool, string)) {
	e.t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("not in time: %s", state)
		}
		<-time.After(5 * time.Millisecond)
	}
}

// onNode waits until a pod is bound and gives the node.
func (e *env) onNode(name string) (node string) {
	e.t.Helper()
	e.eventually(func() (bool, string) {
		pod := e.pod(name)
		node = pod.Spec.NodeName
		return node != "", fmt.Sprintf("pod %s has no node: %+v", name, pod.Status.Conditions)
	})
	return node
}

// unschedulable waits for the condition PodScheduled with a reason and a message.
func (e *env) unschedulable(name, reason, message string) {
	e.t.Helper()
	e.eventually(func() (bool, string) {
		for _, c := range e.pod(name).Status.Conditions {
			if c.Type == corev1.PodScheduled {
				return c.Status == corev1.ConditionFalse && c.Reason == reason && c.Message == message,
					fmt.Sprintf("pod %s: %s %q, want %s %q", name, c.Reason, c.Message, reason, message)
			}
		}
		return false, "no condition PodScheduled"
	})
}

// event waits for an event about a pod.
func (e *env) event(pod, reason, note string) (found eventsv1.Event) {
	e.t.Helper()
	e.eventually(func() (bool, string) {
		list := &eventsv1.EventList{}
		if err := e.Client().List(context.Background(), list, client.InNamespace("default")); err != nil {
			return false, err.Error()
		}
		var seen []string
		for _, ev := range list.Items {
			if ev.Regarding.Name == pod && ev.Reason == reason && strings.Contains(ev.Note, note) {
				found = ev
				return true, ""
			}
			seen = append(seen, ev.Regarding.Name+" "+ev.Reason+" "+ev.Note)
		}
		return false, fmt.Sprintf("event %s %q of pod %s not among %q", reason, note, pod, seen)
	})
	return found
}

func newNode(name, cpu string) *corev1.Node {
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse(cpu),
		corev1.ResourceMemory: resource.MustParse("16Gi"),
		corev1.ResourcePods:   resource.MustParse("110"),
	}
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status:     corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}
}

func newPod(name, cpu string) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example/app:v1"}}},
	}
	if cpu != "" {
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	return pod
}

func TestPodIsBoundAndTold(t *testing.T) {
	e := start(t, scheduler.Config{})
	e.create(newNode("n1", "4"))
	e.create(newPod("web", "1"))
	if node := e.onNode("web"); node != "n1" {
		t.Errorf("pod is on %q, want n1", node)
	}
	ev := e.event("web", "Scheduled", "Successfully assigned default/web to n1")
	if ev.ReportingController != "default-scheduler" || ev.Action != "Binding" || ev.Type != corev1.EventTypeNormal {
		t.Errorf("event is %+v", ev)
	}
}

func TestUnschedulablePodIsToldWhyAndScheduledOnceItFits(t *testing.T) {
	e := start(t, scheduler.Config{})
	e.create(newPod("early", "1"))
	e.unschedulable("early", corev1.PodReasonUnschedulable, "no nodes available to schedule pods")

	tainted := newNode("n1", "4")
	tainted.Spec.Taints = []corev1.Taint{{Key: "role", Value: "control", Effect: corev1.TaintEffectNoSchedule}}
	e.create(tainted)
	e.create(newNode("n2", "1"))
	e.create(newNode("n3", "1"))
	if node := e.onNode("early"); node == "n1" {
		t.Errorf("pod is on the tainted node")
	}

	e.create(newPod("large", "2"))
	message := "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. " +
		"preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
	e.unschedulable("large", corev1.PodReasonUnschedulable, message)
	ev := e.event("large", "FailedScheduling", message)
	if ev.Type != corev1.EventTypeWarning || ev.Action != "Scheduling" {
		t.Errorf("event is %+v", ev)
	}

	tainted.Spec.Taints = nil
	if err := e.Client().Update(context.Background(), tainted); err != nil {
		t.Fatal(err)
	}
	if node := e.onNode("large"); node != "n1" {
		t.Errorf("pod is on %q, want n1", node)
	}
}

func TestPodWaitsForItsGatesAndForItsClaim(t *testing.T) {
	e := start(t, scheduler.Config{})
	e.create(newNode("n1", "4"))

	gated := newPod("gated", "1")
	gated.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}}
	e.create(gated)
	e.unschedulable("gated", corev1.PodReasonSchedulingGated, "Scheduling is blocked due to non-empty scheduling gates")
	pod := e.pod("gated")
	pod.Spec.SchedulingGates = nil
	if err := e.Client().Update(context.Background(), pod); err != nil {
		t.Fatal(err)
	}
	e.onNode("gated")

	claiming := newPod("claiming", "1")
	claiming.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"},
	}}}
	e.create(claiming)
	e.unschedulable("claiming", corev1.PodReasonUnschedulable,
		`0/1 nodes are available: persistentvolumeclaim "data" not found. `+
			"preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.")
}

func TestPodTakesRoomWhenAnotherIsDeleted(t *testing.T) {
	e := start(t, scheduler.Config{})
	e.create(newNode("n1", "1"))
	first := newPod("first", "1")
	e.create(first)
	e.onNode("first")
	e.create(newPod("second", "1"))
	e.unschedulable("second", corev1.PodReasonUnschedulable,
		"0/1 nodes are available: 1 Insufficient cpu. "+
			"preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod.")
	e.delete(first)
	e.onNode("second")
}

func TestImportantPodPreempts(t *testing.T) {
	e := start(t, scheduler.Config{})
	e.create(newNode("n1", "1"))
	low := newPod("low", "1")
	low.Spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
	e.create(low)
	e.onNode("low")
	high := newPod("high", "1")
	e.create(&schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 1000})
	high.Spec.PriorityClassName = "high"
	e.create(high)
	e.onNode("high")
	e.event("low", "Preempted", "Preempted by pod "+string(high.UID)+" on node n1")
}

func TestTwoSchedulersByNameNeverOvercommit(t *testing.T) {
	e := start(t, scheduler.Config{})
	e.run(scheduler.Config{SchedulerName: "other"})
	for i := range 4 {
		e.create(newNode(fmt.Sprintf("n%d", i), "2"))
	}
	for i := range 12 { // 8 fit
		pod := newPod(fmt.Sprintf("p%d", i), "1")
		if i%2 == 0 {
			pod.Spec.SchedulerName = "other"
		}
		e.create(pod)
	}
	e.eventually(func() (bool, string) {
		list := &corev1.PodList{}
		if err := e.Client().List(context.Background(), list, client.InNamespace("default")); err != nil {
			return false, err.Error()
		}
		bound, told := 0, 0
		perNode := map[string]int{}
		for _, pod := range list.Items {
			if pod.Spec.NodeName != "" {
				bound++
				perNode[pod.Spec.NodeName]++
			} else if len(pod.Status.Conditions) > 0 {
				told++
			}
		}
		return bound >= 8 && bound+told == 12, fmt.Sprintf("%d bound, %d told, %v", bound, told, perNode)
	})
}

func TestAnotherSchedulerTakesOverFromADeadLeader(t *testing.T) {
	e := newEnv(t)
	stop := e.run(scheduler.Config{LeaderElect: true, Identity: "a"})
	e.run(scheduler.Config{LeaderElect: true, Identity: "b"})
	e.create(newNode("n1", "4"))
	e.create(newPod("one", "1"))
	e.onNode("one")
	stop()
	e.create(newPod("two", "1"))
	e.onNode("two")
}

// TestAPodIsBoundByTheNextTerm has a scheduler lose the lead while it binds, and
// lead again.
func TestAPodIsBoundByTheNextTerm(t *testing.T) {
	e := newEnv(t)
	e.create(newNode("n1", "4"))
	config := e.RESTConfig()
	broken := &outage{RoundTripper: config.Transport}
	config.Transport = broken
	s, err := scheduler.New(scheduler.Config{REST: config, LeaderElect: true, Identity: "a"})
	if err != nil {
		t.Fatal(err)
	}
	roomtest.Run(t, s)
	e.create(newPod("one", "1"))
	e.onNode("one")
	if !broken.was.Load() {
		t.Error("the pod was bound in the first term")
	}
}

// outage lets nobody renew a lease from the first attempt to bind a pod on,
// until that attempt is given up with the lead.
type outage struct {
	http.RoundTripper
	was, is atomic.Bool
}

func (o *outage) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/binding") && o.was.CompareAndSwap(false, true) {
		o.is.Store(true)
		defer o.is.Store(false)
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	if o.is.Load() && strings.Contains(r.URL.Path, "/leases/") {
		return nil, errors.New("outage")
	}
	return o.RoundTripper.RoundTrip(r)
}

func TestManyPodsAreScheduled(t *testing.T) {
	e := start(t, scheduler.Config{})
	for i := range 10 {
		e.create(newNode(fmt.Sprintf("n%d", i), "64"))
	}
	const pods = 200
	for i := range pods {
		e.create(newPod(fmt.Sprintf("p%d", i), "100m"))
	}
	e.eventually(func() (bool, string) {
		list := &corev1.PodList{}
		if err := e.Client().List(context.Background(), list, client.InNamespace("default")); err != nil {
			return false, err.Error()
		}
		perNode := map[string]int{}
		bound := 0
		for _, pod := range list.Items {
			if pod.Spec.NodeName != "" {
				bound++
				perNode[pod.Spec.NodeName]++
			}
		}
		for node, n := range perNode {
			if n > pods/10+2 {
				return false, fmt.Sprintf("node %s has %d of %d pods", node, n, bound)
			}
		}
		return bound == pods, fmt.Sprintf("%d of %d bound", bound, pods)
	})
}
