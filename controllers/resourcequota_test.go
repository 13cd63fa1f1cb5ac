package controllers_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
)

// quotaUsed waits for what a quota says is used of some names.
func quotaUsed(t *testing.T, c client.Client, quota *corev1.ResourceQuota, want string) {
	t.Helper()
	eventually(t, func() string {
		get(t, c, quota)
		var parts []string
		for _, each := range strings.Fields(want) {
			name, _, _ := strings.Cut(each, "=")
			used, counted := quota.Status.Used[corev1.ResourceName(name)]
			if !counted {
				parts = append(parts, name+" not counted")
				continue
			}
			hard := quota.Status.Hard[corev1.ResourceName(name)]
			parts = append(parts, fmt.Sprintf("%s=%s/%s", name, used.String(), hard.String()))
		}
		if got := strings.Join(parts, " "); got != want {
			return fmt.Sprintf("used %s, want %s", got, want)
		}
		return ""
	})
}

func TestQuotasAreCounted(t *testing.T) {
	api := clustertest.APIServer(t)
	c := api.Client()
	allowPods(t, c)
	definitions, err := client.New(api.RESTConfig(), client.Options{Scheme: definitionScheme(t)})
	if err != nil {
		t.Fatal(err)
	}
	create(t, definitions, widgetDefinition())
	run(t, controllers.Config{REST: api.RESTConfig(), Controllers: []string{"resourcequota-controller"}})

	requests := func(pod *corev1.Pod) {
		pod.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("100m")}
	}
	first := runningPod(t, c, "first", "nowhere", "", requests)
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "all"}}
	quota.Spec.Hard = corev1.ResourceList{
		"pods": resource.MustParse("2"), "requests.cpu": resource.MustParse("1"), "count/configmaps": resource.MustParse("5"),
		"count/widgets.example.com": resource.MustParse("1"), "services.nodeports": resource.MustParse("1"),
	}
	create(t, c, quota)
	quotaUsed(t, c, quota, "pods=1/2 requests.cpu=100m/1 services.nodeports=0/1 count/widgets.example.com=0/1")

	// What the API server lets in it counts itself; both agree.
	runningPod(t, c, "second", "nowhere", "", requests)
	quotaUsed(t, c, quota, "pods=2/2 requests.cpu=200m/1")
	third := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "third"}, Spec: *first.Spec.DeepCopy()}
	if err := c.Create(t.Context(), third); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: all") {
		t.Fatalf("a pod too many: %v", err)
	}
	// A pod that has ended makes room.
	change(t, c, first, func() {})
	first.Status.Phase = corev1.PodSucceeded
	if err := c.Status().Update(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	quotaUsed(t, c, quota, "pods=1/2 requests.cpu=100m/1")

	widget := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Widget", "metadata": map[string]any{"namespace": "default", "name": "w"},
	}}
	create(t, c, widget.DeepCopy())
	quotaUsed(t, c, quota, "count/widgets.example.com=1/1")
	other := widget.DeepCopy()
	other.SetName("other")
	if err := c.Create(t.Context(), other); !apierrors.IsForbidden(err) {
		t.Fatalf("a widget too many: %v", err)
	}
	if err := c.Delete(t.Context(), widget); err != nil {
		t.Fatal(err)
	}
	quotaUsed(t, c, quota, "count/widgets.example.com=0/1")
	change(t, c, quota, func() { quota.Spec.Hard = corev1.ResourceList{"configmaps": resource.MustParse("7")} })
	quotaUsed(t, c, quota, "configmaps=0/7")
	if len(quota.Status.Used) != 1 {
		t.Errorf("used %v", quota.Status.Used)
	}
}

// TestQuotasStatusIsMended does what Kubernetes' conformance test does, which
// waits longer than a resync takes.
func TestQuotasStatusIsMended(t *testing.T) {
	tests := []struct {
		name  string
		patch string
	}{
		{"when another writer has set other limits", `{"status":{"hard":{"cpu":"2","memory":"2Gi"}}}`},
		{"when another writer has taken a limit away", `{"status":{"hard":{"cpu":null}}}`},
		{"when another writer has taken away what is used", `{"status":{"used":null}}`},
		{"when another writer has taken away all of it", `{"status":null}`},
	}
	c := start(t, "resourcequota-controller")
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("quota-%d", i)}}
			quota.Spec.Hard = corev1.ResourceList{"cpu": resource.MustParse("500m"), "memory": resource.MustParse("500Mi")}
			create(t, c, quota)
			quotaUsed(t, c, quota, "cpu=0/500m memory=0/500Mi")
			change(t, c, quota, func() {
				quota.Spec.Hard = corev1.ResourceList{"cpu": resource.MustParse("1"), "memory": resource.MustParse("1Gi")}
			})
			quotaUsed(t, c, quota, "cpu=0/1 memory=0/1Gi")
			counted := quota.ResourceVersion
			if err := c.Status().Patch(t.Context(), quota, client.RawPatch(types.MergePatchType, []byte(test.patch))); err != nil {
				t.Fatal(err)
			}
			if quota.ResourceVersion == counted {
				t.Fatal("the patch changed nothing")
			}
			quotaUsed(t, c, quota, "cpu=0/1 memory=0/1Gi")
		})
	}
}

func definitionScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func widgetDefinition() *apiextensionsv1.CustomResourceDefinition {
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "widgets.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "widgets", Singular: "widget", Kind: "Widget", ListKind: "WidgetList"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
}

func TestObjectsMoveFromQuotaToQuota(t *testing.T) {
	c := start(t, "resourcequota-controller")
	scoped := func(name string, of corev1.ResourceName, scope corev1.ScopedResourceSelectorRequirement) *corev1.ResourceQuota {
		quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
		quota.Spec.Hard = corev1.ResourceList{of: resource.MustParse("1")}
		quota.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []corev1.ScopedResourceSelectorRequirement{scope}}
		create(t, c, quota)
		quotaUsed(t, c, quota, string(of)+"=0/1")
		return quota
	}

	t.Run("a pod that gets a deadline", func(t *testing.T) {
		endless := scoped("endless", "pods", corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeNotTerminating, Operator: corev1.ScopeSelectorOpExists})
		ending := scoped("ending", "pods", corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeTerminating, Operator: corev1.ScopeSelectorOpExists})
		pod := runningPod(t, c, "moves", "nowhere", "")
		quotaUsed(t, c, endless, "pods=1/1")
		change(t, c, pod, func() { pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](3600) })
		quotaUsed(t, c, endless, "pods=0/1")
		quotaUsed(t, c, ending, "pods=1/1")
		second := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "second"}, Spec: *pod.Spec.DeepCopy()}
		if err := c.Create(t.Context(), second); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: ending") {
			t.Errorf("a second pod with a deadline: %v", err)
		}
	})

	t.Run("a claim that wants another class", func(t *testing.T) {
		of := func(class string) corev1.ScopedResourceSelectorRequirement {
			return corev1.ScopedResourceSelectorRequirement{ScopeName: corev1.ResourceQuotaScopeVolumeAttributesClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{class}}
		}
		gold, silver := scoped("gold", "persistentvolumeclaims", of("gold")), scoped("silver", "persistentvolumeclaims", of("silver"))
		claim := newClaim("moves", "", "1Gi", func(claim *corev1.PersistentVolumeClaim) { claim.Spec.VolumeAttributesClassName = ptr.To("gold") })
		create(t, c, claim)
		quotaUsed(t, c, gold, "persistentvolumeclaims=1/1")
		claim.Status.Phase, claim.Status.CurrentVolumeAttributesClassName = corev1.ClaimBound, ptr.To("silver")
		if err := c.Status().Update(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		quotaUsed(t, c, gold, "persistentvolumeclaims=1/1")
		quotaUsed(t, c, silver, "persistentvolumeclaims=1/1")
		claim.Status.CurrentVolumeAttributesClassName = nil
		if err := c.Status().Update(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		quotaUsed(t, c, silver, "persistentvolumeclaims=0/1")
	})
}
