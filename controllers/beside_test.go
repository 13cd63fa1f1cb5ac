package controllers_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/controllers"
)

// startWith runs controllers with a configuration of the test's own.
func startWith(t *testing.T, cfg controllers.Config) client.Client {
	t.Helper()
	api := clustertest.APIServer(t)
	cfg.REST = api.RESTConfig()
	run(t, cfg)
	return api.Client()
}

// needs skips the test where the API server does not serve the object's kind.
func needs(t *testing.T, c client.Client, object client.Object) {
	t.Helper()
	gvk, err := apiutil.GVKForObject(object, c.Scheme())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.RESTMapper().RESTMapping(gvk.GroupKind(), gvk.Version); err != nil {
		t.Skipf("%s is not served: %v", gvk, err)
	}
}

// newDefinition makes a definition of the kind Widget.
func newDefinition(name string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata":   map[string]any{"name": name},
		"spec": map[string]any{
			"group": "example.com",
			"scope": "Namespaced",
			"names": map[string]any{"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
			}},
		},
	}}
}

func newWidget(name string) *unstructured.Unstructured {
	widget := &unstructured.Unstructured{}
	widget.SetAPIVersion("example.com/v1")
	widget.SetKind("Widget")
	widget.SetNamespace(metav1.NamespaceDefault)
	widget.SetName(name)
	return widget
}
