package apiserver_test

import (
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestPodGroupsAreOneInAllVersions sees that what is written in the alpha is
// read in the beta, and that the server keeps to the declarations in both.
func TestPodGroupsAreOneInAllVersions(t *testing.T) {
	t.Parallel()
	_, _, client := everything(t)
	ctx := t.Context()
	namespace := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": "ml"}}}
	if _, err := client.Resource(schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}).Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	groups := schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1alpha3", Resource: "podgroups"}
	alpha, beta := client.Resource(groups).Namespace("ml"), client.Resource(groups.GroupResource().WithVersion("v1beta1")).Namespace("ml")
	set := func(u *unstructured.Unstructured, value any, fields ...string) *unstructured.Unstructured {
		t.Helper()
		u = u.DeepCopy()
		if err := unstructured.SetNestedField(u.Object, value, fields...); err != nil {
			t.Fatal(err)
		}
		return u
	}
	gang := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "scheduling.k8s.io/v1alpha3", "kind": "PodGroup", "metadata": map[string]any{"name": "workers"},
		"spec":   map[string]any{"schedulingPolicy": map[string]any{"gang": map[string]any{"minCount": int64(4)}}},
		"status": map[string]any{"conditions": []any{}},
	}}
	if _, err := alpha.Create(ctx, set(gang, int64(0), "spec", "schedulingPolicy", "gang", "minCount"), metav1.CreateOptions{}); !apierrors.IsInvalid(err) ||
		err.Error() != `PodGroup.scheduling.k8s.io "workers" is invalid: spec.schedulingPolicy.gang.minCount: Required value` {
		t.Errorf("a gang of none: %v", err)
	}
	if _, err := alpha.Create(ctx, gang, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	read, err := beta.Get(ctx, "workers", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if single, ok, _ := unstructured.NestedMap(read.Object, "spec", "disruptionMode", "single"); !ok || len(single) != 0 || read.GetAPIVersion() != "scheduling.k8s.io/v1beta1" {
		t.Errorf("%v", read.Object)
	}
	if _, err := beta.Update(ctx, set(read, "urgent", "spec", "priorityClassName"), metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "spec.priorityClassName: Invalid value: null: field is immutable") {
		t.Errorf("another priority: %v", err)
	}
	if read, err = beta.Update(ctx, set(read, int64(8), "spec", "schedulingPolicy", "gang", "minCount"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	done := map[string]any{"type": "PodGroupInitiallyScheduled", "status": "True", "reason": "Scheduled", "message": "", "lastTransitionTime": "2026-01-02T03:04:05Z"}
	changed := set(set(read, []any{done}, "status", "conditions"), int64(2), "spec", "schedulingPolicy", "gang", "minCount")
	if _, err := alpha.UpdateStatus(ctx, set(changed, "scheduling.k8s.io/v1alpha3", "apiVersion"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if read, err = alpha.Get(ctx, "workers", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	size, _, _ := unstructured.NestedInt64(read.Object, "spec", "schedulingPolicy", "gang", "minCount")
	conditions, _, _ := unstructured.NestedSlice(read.Object, "status", "conditions")
	if size != 8 || len(conditions) != 1 {
		t.Errorf("%v", read.Object)
	}
}
