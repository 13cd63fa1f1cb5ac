package main

import (
	"context"
	"fmt"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	clientset "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
)

// crdLatency is from the creation of a definition to the first object that is
// stored, tried without pause as an installer would.
func crdLatency(ctx context.Context) (string, error) {
	c, cfg, err := apiServer(ctx, "in-process")
	if err != nil {
		return "", err
	}
	defer c.Stop()
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	definitions, err := clientset.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	objects, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return "", err
	}
	i := 0
	return repeat(9, func() (time.Duration, error) {
		i++
		crd := definition(i)
		begin := time.Now()
		if _, err := definitions.ApiextensionsV1().CustomResourceDefinitions().Create(ctx, crd, metav1.CreateOptions{}); err != nil {
			return 0, err
		}
		gvr := apiextensionsv1.SchemeGroupVersion.WithResource(crd.Spec.Names.Plural)
		gvr.Group, gvr.Version = crd.Spec.Group, "v1"
		obj := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": crd.Spec.Group + "/v1", "kind": crd.Spec.Names.Kind, "metadata": map[string]any{"name": "first"},
		}}
		for {
			if _, err = objects.Resource(gvr).Namespace("default").Create(ctx, obj, metav1.CreateOptions{}); err == nil {
				return time.Since(begin), nil
			}
			if time.Since(begin) > 10*time.Second {
				return 0, fmt.Errorf("not served within 10 s: %w", err)
			}
			time.Sleep(time.Millisecond)
		}
	})
}

func definition(i int) *apiextensionsv1.CustomResourceDefinition {
	plural := fmt.Sprintf("things%d", i)
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: plural + ".bench.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "bench.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: fmt.Sprintf("Thing%d", i)},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{
				Name: "v1", Served: true, Storage: true,
				Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object"}},
			}},
		},
	}
}
