package controllers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
)

// createNode registers a node that is ready.
func createNode(t *testing.T, c client.Client, name string) *corev1.Node {
	t.Helper()
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: "linux"}}}
	if err := c.Create(t.Context(), node); err != nil {
		t.Fatal(err)
	}
	post(t, c, node)
	return node
}

// post is a node's heartbeat with which it says that it is well.
func post(t *testing.T, c client.Client, node *corev1.Node) {
	t.Helper()
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
			t.Fatal(err)
		}
		now := metav1.Now()
		node.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", LastHeartbeatTime: now, LastTransitionTime: now,
		}}
		if err := c.Status().Update(t.Context(), node); err != nil {
			return err.Error()
		}
		return ""
	})
}

// runningPod creates a pod that runs on a node and is ready.
func runningPod(t *testing.T, c client.Client, name, node, ip string, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "c", Image: "image"}}},
	}
	for _, each := range change {
		each(pod)
	}
	ensureAccount(t, c, pod.Namespace)
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	if ip != "" {
		pod.Status.PodIP, pod.Status.PodIPs = ip, []corev1.PodIP{{IP: ip}}
	}
	if err := c.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// ensureAccount creates the service account that pods need, where the
// controller that does it is not running.
func ensureAccount(t *testing.T, c client.Client, namespace string) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "default"}}
	if err := c.Create(t.Context(), account); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	}
}

func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) string {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == kind {
			return strings.TrimSpace(string(condition.Status) + " " + condition.Reason)
		}
	}
	return ""
}

func taintsOf(node *corev1.Node) string {
	var taints []string
	for _, taint := range node.Spec.Taints {
		taints = append(taints, fmt.Sprintf("%s:%s", taint.Key, taint.Effect))
	}
	slices.Sort(taints)
	return strings.Join(taints, " ")
}

func TestASilentNodeIsGivenUpAndTakenBack(t *testing.T) {
	c := startWith(t, controllers.Config{
		Controllers:            []string{"node-lifecycle-controller", "taint-eviction-controller"},
		NodeMonitorPeriod:      50 * time.Millisecond,
		NodeMonitorGracePeriod: 3 * time.Second,
	})
	alive, dead := createNode(t, c, "alive"), createNode(t, c, "dead")
	beat := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-node-lease", Name: "alive"}}
	eventually(t, func() string {
		if err := c.Create(t.Context(), beat.DeepCopy()); err != nil {
			return err.Error()
		}
		return ""
	})
	// waiting, the live node goes on to renew its lease.
	waiting := func(check func() string) {
		t.Helper()
		eventually(t, func() string {
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(beat), beat); err != nil {
				t.Fatal(err)
			}
			beat.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
			if err := c.Update(t.Context(), beat); err != nil {
				t.Fatal(err)
			}
			return check()
		})
	}
	tolerates := func(seconds *int64) func(*corev1.Pod) {
		return func(pod *corev1.Pod) {
			pod.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: seconds}}
		}
	}
	leaves := runningPod(t, c, "leaves", "dead", "", tolerates(ptr.To[int64](1)))
	stays := runningPod(t, c, "stays", "dead", "", tolerates(nil))
	patient := runningPod(t, c, "patient", "dead", "", tolerates(ptr.To[int64](3600)))
	elsewhere := runningPod(t, c, "elsewhere", "alive", "")

	waiting(func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(dead), dead); err != nil {
			t.Fatal(err)
		}
		want := "node.kubernetes.io/unreachable:NoExecute node.kubernetes.io/unreachable:NoSchedule"
		if got := taintsOf(dead); got != want {
			return fmt.Sprintf("taints are %q", got)
		}
		return ""
	})
	for _, condition := range dead.Status.Conditions {
		if condition.Type == corev1.NodeReady && (condition.Status != corev1.ConditionUnknown || condition.Reason != "NodeStatusUnknown" || condition.Message != "Kubelet stopped posting node status.") {
			t.Errorf("Ready is %+v", condition)
		}
	}
	waiting(func() string {
		for _, pod := range []*corev1.Pod{leaves, stays, patient} {
			if !exists(t, c, pod) {
				continue
			}
			if got := podCondition(pod, corev1.PodReady); got != "False" {
				return fmt.Sprintf("pod %s has Ready %q", pod.Name, got)
			}
		}
		if exists(t, c, leaves) {
			if leaves.DeletionTimestamp == nil {
				return "the pod is not evicted"
			}
			if got := podCondition(leaves, corev1.DisruptionTarget); got != "True DeletionByTaintManager" {
				t.Fatalf("the evicted pod has DisruptionTarget %q", got)
			}
		}
		return ""
	})
	post(t, c, dead)
	waiting(func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(dead), dead); err != nil {
			t.Fatal(err)
		}
		if got := taintsOf(dead); got != "" {
			return fmt.Sprintf("a node that is back has taints %q", got)
		}
		return ""
	})
	for _, pod := range []*corev1.Pod{stays, patient, elsewhere} {
		if !exists(t, c, pod) || pod.DeletionTimestamp != nil {
			t.Errorf("pod %s was evicted", pod.Name)
		}
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(alive), alive); err != nil {
		t.Fatal(err)
	}
	if alive.Labels["beta.kubernetes.io/os"] != "linux" || taintsOf(alive) != "" {
		t.Errorf("the live node has labels %v, taints %q", alive.Labels, taintsOf(alive))
	}
}

func TestTheOnlyNodeIsNotGivenUp(t *testing.T) {
	c := startWith(t, controllers.Config{
		Controllers:            []string{"node-lifecycle-controller"},
		NodeMonitorPeriod:      20 * time.Millisecond,
		NodeMonitorGracePeriod: 100 * time.Millisecond,
	})
	node := createNode(t, c, "only")
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(taintsOf(node), "NoExecute") {
			t.Fatal("the last node's pods are evicted")
		}
		if got := taintsOf(node); got != "node.kubernetes.io/unreachable:NoSchedule" {
			return fmt.Sprintf("taints are %q", got)
		}
		return ""
	})
}

func TestCordonAndPressureBecomeTaints(t *testing.T) {
	c := start(t, "node-lifecycle-controller")
	node := createNode(t, c, "n1")
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
			t.Fatal(err)
		}
		node.Spec.Unschedulable = true
		if err := c.Update(t.Context(), node); err != nil {
			return err.Error()
		}
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue})
		if err := c.Status().Update(t.Context(), node); err != nil {
			return err.Error()
		}
		return ""
	})
	eventually(t, func() string {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(node), node); err != nil {
			t.Fatal(err)
		}
		if got := taintsOf(node); got != "node.kubernetes.io/memory-pressure:NoSchedule node.kubernetes.io/unschedulable:NoSchedule" {
			return fmt.Sprintf("taints are %q", got)
		}
		return ""
	})
}

func TestNodesGetNetworksOfTheirOwn(t *testing.T) {
	api := clustertest.APIServer(t)
	c := api.Client()
	cfg := controllers.Config{
		REST: api.RESTConfig(), Controllers: []string{"node-ipam-controller"},
		AllocateNodeCIDRs: true, ClusterCIDR: "10.244.0.0/16",
	}
	owner := map[string]string{}
	given := func(name string) {
		t.Helper()
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		eventuallyThere(t, c, node, func() string {
			if node.Spec.PodCIDR == "" || !slices.Equal(node.Spec.PodCIDRs, []string{node.Spec.PodCIDR}) {
				return fmt.Sprintf("node %s has networks %q, %v", name, node.Spec.PodCIDR, node.Spec.PodCIDRs)
			}
			return ""
		})
		if other, taken := owner[node.Spec.PodCIDR]; taken && other != name {
			t.Errorf("%s and %s both have %s", name, other, node.Spec.PodCIDR)
		}
		owner[node.Spec.PodCIDR] = name
	}
	createNode(t, c, "before-the-start")
	_, stop := run(t, cfg)
	for i := range 10 {
		createNode(t, c, fmt.Sprint("n", i))
	}
	given("before-the-start")
	for i := range 10 {
		given(fmt.Sprint("n", i))
	}
	stop()
	createNode(t, c, "between")
	run(t, cfg)
	createNode(t, c, "after")
	for _, name := range []string{"between", "after", "n3"} {
		given(name)
	}
	if len(owner) != 13 {
		t.Errorf("%d networks are given to 13 nodes", len(owner))
	}
}

func TestPodsOfNodesThatAreGoneAreDeleted(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Now())
	c := startWith(t, controllers.Config{Controllers: []string{"pod-garbage-collector-controller"}, Clock: clock})
	createNode(t, c, "there")
	kept := runningPod(t, c, "kept", "there", "")
	orphan := runningPod(t, c, "orphan", "gone", "")
	ended := runningPod(t, c, "ended", "gone", "")
	ended.Status.Phase = corev1.PodSucceeded
	if err := c.Status().Update(t.Context(), ended); err != nil {
		t.Fatal(err)
	}
	for _, pod := range []*corev1.Pod{orphan, ended} {
		eventually(t, func() string {
			clock.Step(20 * time.Second)
			if exists(t, c, pod) {
				return fmt.Sprintf("pod %s is still there, phase %s", pod.Name, pod.Status.Phase)
			}
			return ""
		})
	}
	if !exists(t, c, kept) {
		t.Error("a pod whose node exists was deleted")
	}
}
