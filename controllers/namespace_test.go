package controllers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func createNamespace(t *testing.T, c client.Client, name string) *corev1.Namespace {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace
}

func TestANamespaceGoesWithItsContent(t *testing.T) {
	c := start(t, "namespace-controller")
	team := createNamespace(t, c, "team")
	other := createNamespace(t, c, "other")
	var content []client.Object
	for i := range 5 {
		meta := metav1.ObjectMeta{Namespace: "team", Name: fmt.Sprint("item-", i)}
		content = append(content, &corev1.ConfigMap{ObjectMeta: meta}, &corev1.Secret{ObjectMeta: meta}, &corev1.ServiceAccount{ObjectMeta: meta})
	}
	kept := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "other", Name: "kept"}}
	for _, object := range append(content, kept) {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	remove(t, c, team)
	eventuallyGone(t, c, team)
	t.Logf("took %s", time.Since(begin))
	for _, object := range content {
		if exists(t, c, object) {
			t.Errorf("%s is left", object.GetName())
		}
	}
	if !exists(t, c, kept) || !exists(t, c, other) {
		t.Error("another namespace was touched")
	}
}

func TestANamespaceTellsWhatItWaitsFor(t *testing.T) {
	c := start(t, "namespace-controller")
	team := createNamespace(t, c, "team")
	held := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "held", Finalizers: []string{"example.com/hold"}}}
	free := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "free"}}
	for _, object := range []client.Object{held, free} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	remove(t, c, team)
	want := map[corev1.NamespaceConditionType]string{
		corev1.NamespaceDeletionDiscoveryFailure: "False ResourcesDiscovered All resources successfully discovered",
		corev1.NamespaceDeletionContentFailure:   "False ContentDeleted All content successfully deleted, may be waiting on finalization",
		corev1.NamespaceContentRemaining:         "True SomeResourcesRemain Some resources are remaining: configmaps. has 1 resource instances",
		corev1.NamespaceFinalizersRemaining:      "True SomeFinalizerRemain Some content in the namespace has finalizers remaining: example.com/hold in 1 resource instances",
	}
	eventually(t, func() string {
		if !exists(t, c, team) {
			t.Fatal("the namespace is gone before its content")
		}
		var wrong []string
		found := map[corev1.NamespaceConditionType]string{}
		for _, condition := range team.Status.Conditions {
			found[condition.Type] = fmt.Sprintf("%s %s %s", condition.Status, condition.Reason, condition.Message)
		}
		for kind, text := range want {
			if found[kind] != text {
				wrong = append(wrong, fmt.Sprintf("%s is %q", kind, found[kind]))
			}
		}
		return strings.Join(wrong, "; ")
	})
	if team.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("the phase is %s", team.Status.Phase)
	}
	eventuallyGone(t, c, free)
	err := c.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "late"}})
	if !apierrors.IsForbidden(err) {
		t.Logf("content in a namespace that is being deleted: %v", err)
	}
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(held), held); err != nil {
		t.Fatal(err)
	}
	held.Finalizers = nil
	if err := c.Update(t.Context(), held); err != nil {
		t.Fatal(err)
	}
	eventuallyGone(t, c, held, team)
}

func TestANamespaceKeepsOtherFinalizers(t *testing.T) {
	c := start(t, "namespace-controller")
	team := &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: "team"},
		Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes, "example.com/hold"}},
	}
	if err := c.Create(t.Context(), team); err != nil {
		t.Fatal(err)
	}
	remove(t, c, team)
	eventually(t, func() string {
		if !exists(t, c, team) {
			t.Fatal("the namespace is gone before its last finalizer")
		}
		if len(team.Spec.Finalizers) != 1 || team.Spec.Finalizers[0] != "example.com/hold" {
			return fmt.Sprintf("finalizers are %v", team.Spec.Finalizers)
		}
		return ""
	})
	team.Spec.Finalizers = nil
	if err := c.SubResource("finalize").Update(t.Context(), team); err != nil {
		t.Fatal(err)
	}
	eventuallyGone(t, c, team)
}

func TestPodsOfANamespaceGoFirst(t *testing.T) {
	c := start(t, "namespace-controller")
	team := createNamespace(t, c, "team")
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "runs", Finalizers: []string{"example.com/hold"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image"}}},
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "used"}}
	ensureAccount(t, c, "team")
	for _, object := range []client.Object{pod, secret} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	remove(t, c, team)
	eventually(t, func() string {
		if !exists(t, c, pod) {
			t.Fatal("the pod is gone in spite of its finalizer")
		}
		if pod.DeletionTimestamp == nil {
			return "the pod is not being deleted"
		}
		return ""
	})
	if !exists(t, c, secret) {
		t.Error("a secret went before the pod that may use it")
	}
	pod.Finalizers = nil
	if err := c.Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	eventuallyGone(t, c, pod, secret, team)
}
