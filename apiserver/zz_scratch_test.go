package apiserver_test

import (
	"fmt"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdclient "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestScratch(t *testing.T) {
	c := clustertest.APIServer(t)
	k, _ := crdclient.NewForConfig(c.RESTConfig())
	crd := &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "things.bench.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "bench.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "things", Kind: "Thing"},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
	w, err := k.ApiextensionsV1().CustomResourceDefinitions().Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	k.ApiextensionsV1().CustomResourceDefinitions().Create(t.Context(), crd, metav1.CreateOptions{})
	for i := 0; i < 3; i++ {
		e := <-w.ResultChan()
		o := e.Object.(*apiextensionsv1.CustomResourceDefinition)
		fmt.Println(e.Type, o.ResourceVersion, o.Generation, o.Status.Conditions, len(o.ManagedFields))
	}
}
