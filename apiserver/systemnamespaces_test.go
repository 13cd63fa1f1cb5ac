package apiserver_test

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestTheFirstNamespacesSayWhoManagesThem(t *testing.T) {
	t.Parallel()
	namespaces := clientset(t, clustertest.APIServer(t).RESTConfig()).CoreV1().Namespaces()
	for _, name := range []string{"default", "kube-system", "kube-public", "kube-node-lease"} {
		ns, err := namespaces.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if len(ns.ManagedFields) != 1 || ns.ManagedFields[0].Manager != "kube-apiserver" {
			t.Errorf("%s: managed by %+v, want kube-apiserver", name, ns.ManagedFields)
		}
	}
	label := []byte(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"default","labels":{"kubernetes.io/metadata.name":"default","team":"a"}}}`)
	ns, err := namespaces.Patch(t.Context(), "default", types.ApplyPatchType, label, metav1.PatchOptions{FieldManager: "me"})
	if err != nil {
		t.Fatal(err)
	}
	managers := []string{}
	for _, f := range ns.ManagedFields {
		managers = append(managers, f.Manager)
	}
	if len(managers) != 2 || managers[0] != "me" || managers[1] != "kube-apiserver" {
		t.Errorf("managers after an apply: got %v, want me and kube-apiserver", managers)
	}
}
