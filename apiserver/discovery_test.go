package apiserver_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/skiffcluster/skiff/api/all"
	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// plain gives every resource by group/version and name, from the plain lists.
func plain(t *testing.T, r *raw) map[string]metav1.APIResource {
	t.Helper()
	paths := []string{"/api/v1"}
	var groups metav1.APIGroupList
	r.get("/apis").into(t, &groups)
	for _, g := range groups.Groups {
		for _, v := range g.Versions {
			paths = append(paths, "/apis/"+v.GroupVersion)
		}
	}
	out := map[string]metav1.APIResource{}
	for _, p := range paths {
		var list metav1.APIResourceList
		r.get(p).into(t, &list)
		for _, res := range list.APIResources {
			out[list.GroupVersion+" "+res.Name] = res
		}
	}
	return out
}

func TestBothFormsOfDiscoveryAgree(t *testing.T) {
	t.Parallel()
	r := rawTo(t, clustertest.APIServer(t).RESTConfig())
	want := plain(t, r)
	seen := map[string]bool{}
	for _, root := range []string{"/api", "/apis"} {
		var list apidiscoveryv2.APIGroupDiscoveryList
		r.get(root, "Accept", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList").into(t, &list)
		if list.Kind != "APIGroupDiscoveryList" {
			t.Fatalf("%s: %+v", root, list.TypeMeta)
		}
		for _, g := range list.Items {
			for _, v := range g.Versions {
				gv := strings.TrimPrefix(g.Name+"/"+v.Version, "/")
				for _, res := range v.Resources {
					check := func(name string, verbs []string, kind *metav1.GroupVersionKind) {
						key := gv + " " + name
						seen[key] = true
						p, ok := want[key]
						if !ok || !slices.Equal([]string(p.Verbs), verbs) || kind == nil || p.Kind != kind.Kind {
							t.Errorf("%s: plain %+v, aggregated %v %v", key, p, verbs, kind)
						}
					}
					check(res.Resource, res.Verbs, res.ResponseKind)
					if p := want[gv+" "+res.Resource]; p.SingularName != res.SingularResource || !slices.Equal(p.ShortNames, res.ShortNames) || !slices.Equal(p.Categories, res.Categories) || p.Namespaced != (res.Scope == apidiscoveryv2.ScopeNamespace) {
						t.Errorf("%s: %+v, %+v", res.Resource, p, res)
					}
					for _, sub := range res.Subresources {
						check(res.Resource+"/"+sub.Subresource, sub.Verbs, sub.ResponseKind)
					}
				}
			}
		}
	}
	for key := range want {
		if !seen[key] {
			t.Errorf("%s is in the plain form only", key)
		}
	}
}

func TestADefinitionInABuiltInGroup(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	r := rawTo(t, c.RESTConfig())
	lists := func(want ...string) {
		t.Helper()
		var got []string
		for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			var all metav1.APIGroupList
			r.get("/apis").into(t, &all)
			got = nil
			for _, g := range all.Groups {
				if g.Name == "networking.k8s.io" {
					for _, v := range g.Versions {
						got = append(got, v.Version)
					}
				}
			}
			if slices.Equal(got, want) {
				return
			}
			if time.Since(begin) > 30*time.Second {
				t.Fatalf("versions are %v, want %v", got, want)
			}
		}
	}
	lists("v1")
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "walls.networking.k8s.io", "annotations": map[string]any{"api-approved.kubernetes.io": "unapproved, a test"}},
		"spec": map[string]any{
			"group": "networking.k8s.io", "scope": "Namespaced", "names": map[string]any{"kind": "Wall", "plural": "walls"},
			"versions": []any{map[string]any{"name": "v1alpha7", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}}},
		},
	}}
	if err := c.Client().Create(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	lists("v1", "v1alpha7")
	if err := c.Client().Delete(t.Context(), crd); err != nil {
		t.Fatal(err)
	}
	lists("v1")
}

// TestDiscoveryIsThatOfKubernetes has a few lines of `kubectl api-resources
// -o wide` of a cluster of version 1.37.
func TestDiscoveryIsThatOfKubernetes(t *testing.T) {
	t.Parallel()
	got := plain(t, rawTo(t, clustertest.APIServer(t).RESTConfig()))
	const full = "create delete deletecollection get list patch update watch"
	for key, want := range map[string]string{
		"v1 pods":                               "Pod pod [po] [all] true " + full,
		"v1 pods/status":                        "Pod  [] [] true get patch update",
		"v1 pods/binding":                       "Binding  [] [] true create",
		"v1 pods/eviction":                      "Eviction  [] [] true create",
		"v1 pods/log":                           "Pod  [] [] true get",
		"v1 pods/exec":                          "PodExecOptions  [] [] true create get",
		"v1 pods/ephemeralcontainers":           "Pod  [] [] true get patch update",
		"v1 pods/resize":                        "Pod  [] [] true get patch update",
		"v1 pods/proxy":                         "PodProxyOptions  [] [] true create delete get patch update",
		"v1 bindings":                           "Binding binding [] [] true create",
		"v1 namespaces":                         "Namespace namespace [ns] [] false create delete get list patch update watch",
		"v1 namespaces/finalize":                "Namespace  [] [] false update",
		"v1 nodes":                              "Node node [no] [] false " + full,
		"v1 services":                           "Service service [svc] [all] true " + full,
		"v1 configmaps":                         "ConfigMap configmap [cm] [] true " + full,
		"v1 endpoints":                          "Endpoints endpoints [ep] [] true " + full,
		"v1 events":                             "Event event [ev] [] true " + full,
		"v1 serviceaccounts/token":              "TokenRequest  [] [] true create",
		"v1 replicationcontrollers":             "ReplicationController replicationcontroller [rc] [all] true " + full,
		"v1 persistentvolumeclaims":             "PersistentVolumeClaim persistentvolumeclaim [pvc] [] true " + full,
		"apps/v1 deployments":                   "Deployment deployment [deploy] [all] true " + full,
		"apps/v1 deployments/scale":             "Scale  [] [] true get patch update",
		"apps/v1 statefulsets":                  "StatefulSet statefulset [sts] [all] true " + full,
		"apps/v1 controllerrevisions":           "ControllerRevision controllerrevision [] [] true " + full,
		"batch/v1 jobs":                         "Job job [] [all] true " + full,
		"batch/v1 cronjobs":                     "CronJob cronjob [cj] [all] true " + full,
		"events.k8s.io/v1 events":               "Event event [ev] [] true " + full,
		"networking.k8s.io/v1 ingresses":        "Ingress ingress [ing] [] true " + full,
		"scheduling.k8s.io/v1 priorityclasses":  "PriorityClass priorityclass [pc] [] false " + full,
		"storage.k8s.io/v1 storageclasses":      "StorageClass storageclass [sc] [] false " + full,
		"authentication.k8s.io/v1 tokenreviews": "TokenReview tokenreview [] [] false create",
		"authorization.k8s.io/v1 localsubjectaccessreviews": "LocalSubjectAccessReview localsubjectaccessreview [] [] true create",
		"apiextensions.k8s.io/v1 customresourcedefinitions": "CustomResourceDefinition customresourcedefinition [crd crds] [api-extensions] false " + full,
	} {
		p, ok := got[key]
		verbs := slices.Sorted(slices.Values([]string(p.Verbs)))
		if text := fmt.Sprint(p.Kind, " ", p.SingularName, " ", p.ShortNames, " ", p.Categories, " ", p.Namespaced, " ", strings.Join(verbs, " ")); !ok || text != want {
			t.Errorf("%s: %s\nwant %s", key, text, want)
		}
	}
}

func TestDocumentsDescribeEveryKind(t *testing.T) {
	t.Parallel()
	r := rawTo(t, start(t, apiserver.Config{RuntimeConfig: map[string]string{"api/all": "true"}}).admin())
	type schema struct {
		Properties map[string]any            `json:"properties"`
		Kinds      []metav1.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
	}
	var v2 struct {
		Swagger     string            `json:"swagger"`
		Paths       map[string]any    `json:"paths"`
		Definitions map[string]schema `json:"definitions"`
	}
	a := r.get("/openapi/v2")
	a.into(t, &v2)
	if v2.Swagger != "2.0" {
		t.Errorf("%q", v2.Swagger)
	}
	index := func(defs map[string]schema) map[string]bool {
		out := map[string]bool{}
		for name, d := range defs {
			for _, k := range d.Kinds {
				if k.Version == "__internal" {
					t.Errorf("%s is internal", name)
				}
				if len(d.Properties) > 0 {
					out[k.Group+"/"+k.Version+"/"+k.Kind] = true
				}
			}
		}
		return out
	}
	refs := func(what string, raw []byte, prefix string, has func(string) bool) {
		for _, part := range strings.Split(string(raw), `"$ref":"`+prefix)[1:] {
			name, _, _ := strings.Cut(part, `"`)
			if !has(name) {
				t.Errorf("%s: a reference to %s, which is not there", what, name)
			}
		}
	}
	refs("v2", a.body, "#/definitions/", func(n string) bool { _, ok := v2.Definitions[n]; return ok })
	two := index(v2.Definitions)
	var v3 struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		} `json:"paths"`
	}
	r.get("/openapi/v3").into(t, &v3)
	three := map[string]bool{}
	for path, at := range v3.Paths {
		var doc struct {
			OpenAPI    string         `json:"openapi"`
			Paths      map[string]any `json:"paths"`
			Components struct {
				Schemas map[string]schema `json:"schemas"`
			} `json:"components"`
		}
		a := r.get(at.URL)
		if err := json.Unmarshal(a.body, &doc); err != nil || doc.OpenAPI != "3.0.0" || len(doc.Paths) == 0 {
			t.Errorf("%s: %v %d %q", path, err, a.code, doc.OpenAPI)
		}
		refs(path, a.body, "#/components/schemas/", func(n string) bool { _, ok := doc.Components.Schemas[n]; return ok })
		for k := range index(doc.Components.Schemas) {
			three[k] = true
		}
	}
	for _, k := range all.Kinds() {
		key := k.GVK.Group + "/" + k.GVK.Version + "/" + k.GVK.Kind
		if !two[key] {
			t.Errorf("v2 does not describe %s", key)
		}
		if !three[key] {
			t.Errorf("v3 does not describe %s", key)
		}
		root := "/apis/" + k.GVR.Group + "/" + k.GVR.Version
		if k.GVR.Group == "" {
			root = "/api/" + k.GVR.Version
		}
		path := root + "/" + k.GVR.Resource
		if k.Namespaced {
			path = root + "/namespaces/{namespace}/" + k.GVR.Resource
		}
		if v2.Paths[path] == nil {
			t.Errorf("v2 has no path %s", path)
		}
	}
	if a := r.get("/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"); a.code != 200 || len(a.body) < 100000 {
		t.Errorf("as protobuf: %d, %d bytes", a.code, len(a.body))
	}
}
