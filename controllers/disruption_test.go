package controllers_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/kubectl/pkg/drain"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func newBudget(name, app string, most *intstr.IntOrString, least *intstr.IntOrString) *policyv1.PodDisruptionBudget {
	return &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: most, MinAvailable: least, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": app}}},
	}
}

// budgetStatus waits for a budget's expected/healthy/desired/allowed.
func budgetStatus(t *testing.T, c client.Client, budget *policyv1.PodDisruptionBudget, want string) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, budget)
		s := budget.Status
		if got := fmt.Sprintf("%d/%d/%d/%d", s.ExpectedPods, s.CurrentHealthy, s.DesiredHealthy, s.DisruptionsAllowed); got != want || s.ObservedGeneration != budget.Generation {
			return fmt.Sprintf("status %s, want %s: %+v", got, want, s)
		}
		return ""
	})
}

func evict(t *testing.T, c client.Client, pod string, options ...client.SubResourceCreateOption) error {
	t.Helper()
	object := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: pod}}
	return c.SubResource("eviction").Create(t.Context(), object, &policyv1.Eviction{ObjectMeta: object.ObjectMeta}, options...)
}

// refused says with which code, cause and delay an eviction was refused.
func refused(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return fmt.Sprint(err)
	}
	s := status.Status()
	text := fmt.Sprintf("%d %s", s.Code, s.Message)
	if s.Details != nil {
		for _, cause := range s.Details.Causes {
			text += fmt.Sprintf(" [%s: %s]", cause.Type, cause.Message)
		}
		text += fmt.Sprintf(" after %d s", s.Details.RetryAfterSeconds)
	}
	return text
}

// guarded creates a set of pods that run on a node that nobody is.
func guarded(t *testing.T, c client.Client, app string, count int32) []*corev1.Pod {
	t.Helper()
	set := replicaSet(app, count)
	create(t, c, set)
	var made []*corev1.Pod
	for i := range count {
		made = append(made, runningPod(t, c, fmt.Sprintf("%s-%d", app, i), "nowhere", "", func(pod *corev1.Pod) {
			pod.Labels = map[string]string{"app": app}
			pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}
		}))
	}
	return made
}

func TestEvictionsHonourBudgets(t *testing.T) {
	c := start(t, "disruption-controller")

	t.Run("one at a time", func(t *testing.T) {
		guarded(t, c, "single", 3)
		budget := newBudget("single", "single", ptr.To(intstr.FromInt32(1)), nil)
		create(t, c, budget)
		budgetStatus(t, c, budget, "3/3/2/1")
		if err := evict(t, c, "single-0", client.DryRunAll); err != nil {
			t.Fatalf("dry run: %v", err)
		}
		if get(t, c, budget); budget.Status.DisruptionsAllowed != 1 || len(budget.Status.DisruptedPods) > 0 {
			t.Fatalf("a dry run leaves %+v", budget.Status)
		}
		if err := evict(t, c, "single-0"); err != nil {
			t.Fatal(err)
		}
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "single-0"}}
		if get(t, c, pod); pod.DeletionTimestamp == nil || podCondition(pod, corev1.DisruptionTarget) != "True EvictionByEvictionAPI" {
			t.Errorf("the evicted pod is %+v", pod)
		}
		budgetStatus(t, c, budget, "3/2/2/0")
		want := "429 Cannot evict pod as it would violate the pod's disruption budget. [DisruptionBudget: The disruption budget single needs 2 healthy pods and has 2 currently] after 0 s"
		if got := refused(evict(t, c, "single-1")); got != want {
			t.Errorf("refused with %q, want %q", got, want)
		}
		eventually(t, func() string {
			if get(t, c, budget); len(budget.Status.DisruptedPods) > 0 {
				return fmt.Sprintf("a pod that goes is still noted: %v", budget.Status.DisruptedPods)
			}
			return ""
		})
	})

	t.Run("a share of what the scale says", func(t *testing.T) {
		guarded(t, c, "share", 4)
		budget := newBudget("share", "share", nil, ptr.To(intstr.FromString("50%")))
		create(t, c, budget)
		budgetStatus(t, c, budget, "4/4/2/2")
	})

	t.Run("a pod that is not ready may go as the policy says", func(t *testing.T) {
		made := guarded(t, c, "sick", 2)
		for _, pod := range made {
			pod.Status.Conditions[0].Status = corev1.ConditionFalse
			if err := c.Status().Update(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
		}
		budget := newBudget("sick", "sick", nil, ptr.To(intstr.FromInt32(1)))
		create(t, c, budget)
		budgetStatus(t, c, budget, "2/0/1/0")
		if got := refused(evict(t, c, "sick-0")); !strings.HasPrefix(got, "429 ") {
			t.Errorf("refused with %q", got)
		}
		change(t, c, budget, func() { budget.Spec.UnhealthyPodEvictionPolicy = ptr.To(policyv1.AlwaysAllow) })
		if err := evict(t, c, "sick-0"); err != nil {
			t.Error(err)
		}
	})

	t.Run("two budgets for a pod are refused", func(t *testing.T) {
		guarded(t, c, "double", 1)
		for _, name := range []string{"double-a", "double-b"} {
			budget := newBudget(name, "double", ptr.To(intstr.FromInt32(1)), nil)
			create(t, c, budget)
			budgetStatus(t, c, budget, "1/1/0/1")
		}
		got := refused(evict(t, c, "double-0"))
		if want := fmt.Sprintf("%d This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.", http.StatusInternalServerError); !strings.HasPrefix(got, want) {
			t.Errorf("refused with %q", got)
		}
	})

	t.Run("what has no scale allows nothing", func(t *testing.T) {
		node := createNode(t, c, "owner")
		runningPod(t, c, "odd", "nowhere", "", func(pod *corev1.Pod) {
			pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(node, corev1.SchemeGroupVersion.WithKind("Node"))}
		})
		budget := newBudget("odd", "odd", ptr.To(intstr.FromInt32(1)), nil)
		create(t, c, budget)
		hasEvent(t, c, "odd", corev1.EventTypeWarning, "CalculateExpectedPodCountFailed", "Failed to calculate the number of expected pods: ")
		eventually(t, func() string {
			get(t, c, budget)
			if len(budget.Status.Conditions) != 1 || budget.Status.Conditions[0].Reason != policyv1.SyncFailedReason {
				return fmt.Sprintf("status %+v", budget.Status)
			}
			return ""
		})
	})

	t.Run("pods of nobody are told of", func(t *testing.T) {
		runningPod(t, c, "alone", "nowhere", "")
		create(t, c, newBudget("alone", "alone", ptr.To(intstr.FromInt32(1)), nil))
		hasEvent(t, c, "alone", corev1.EventTypeWarning, "UnmanagedPods", "Pods selected by this PodDisruptionBudget")
	})
}

// TestDrain empties a node as kubectl does.
func TestDrain(t *testing.T) {
	api := clustertest.New(t)
	c := api.Client()
	allowPods(t, c)
	web := deployment("web", 2)
	create(t, c, web)
	budget := newBudget("web", "web", ptr.To(intstr.FromInt32(1)), nil)
	create(t, c, budget)
	budgetStatus(t, c, budget, "2/2/1/1")
	var nodes corev1.NodeList
	if err := c.List(t.Context(), &nodes); err != nil || len(nodes.Items) != 1 {
		t.Fatalf("nodes %v, %v", nodes.Items, err)
	}
	set, err := kubernetes.NewForConfig(api.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	var told strings.Builder
	helper := &drain.Helper{Ctx: t.Context(), Client: set, GracePeriodSeconds: 0, Timeout: 2 * time.Second, Out: &told, ErrOut: &told}
	if err := drain.RunCordonOrUncordon(helper, &nodes.Items[0], true); err != nil {
		t.Fatal(err)
	}
	// One pod goes; its successor finds no node, so that the other must stay.
	err = drain.RunNodeDrain(helper, nodes.Items[0].Name)
	if err == nil || !strings.Contains(err.Error(), "global timeout reached") || !strings.Contains(told.String(), "Cannot evict pod as it would violate the pod's disruption budget.") {
		t.Fatalf("drain of a guarded node: %v, %s", err, told.String())
	}
	budgetStatus(t, c, budget, "2/1/1/0")
	if err := c.Delete(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	helper.Timeout = patience
	if err := drain.RunNodeDrain(helper, nodes.Items[0].Name); err != nil {
		t.Fatalf("drain: %v, %s", err, told.String())
	}
	for _, pod := range pods(t, c, "web") {
		if pod.Spec.NodeName != "" {
			t.Errorf("pod %s stays", pod.Name)
		}
	}
}
