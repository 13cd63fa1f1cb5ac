package load

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	clientset "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
)

// WatchLatency are 500 times from a creation to its event.
func WatchLatency(ctx context.Context, k kubernetes.Interface) ([]time.Duration, error) {
	maps := k.CoreV1().ConfigMaps("default")
	w, err := maps.Watch(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	defer w.Stop()
	var all []time.Duration
	for i := range 500 {
		name := fmt.Sprintf("watched-%d", i)
		begin := time.Now()
		if _, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			return nil, err
		}
		for e := range w.ResultChan() {
			if m, ok := e.Object.(*corev1.ConfigMap); ok && m.Name == name {
				break
			}
		}
		all = append(all, time.Since(begin))
	}
	return all, nil
}

// DefinitionLatency is from the creation of a definition to the first object
// that is stored, tried without pause as an installer would. No two calls for a
// server may have the same i.
func DefinitionLatency(ctx context.Context, cfg *restclient.Config, i int) (time.Duration, error) {
	cfg = restclient.CopyConfig(cfg)
	cfg.ContentType, cfg.AcceptContentTypes = "", ""
	definitions, err := clientset.NewForConfig(cfg)
	if err != nil {
		return 0, err
	}
	objects, err := dynamic.NewForConfig(cfg)
	if err != nil {
		return 0, err
	}
	crd := Definition(i)
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
		if time.Since(begin) > 30*time.Second {
			return 0, fmt.Errorf("not served within 30 s: %w", err)
		}
		time.Sleep(time.Millisecond)
	}
}

// Definition is the i-th of a kind without fields.
func Definition(i int) *apiextensionsv1.CustomResourceDefinition {
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
