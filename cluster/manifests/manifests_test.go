package manifests_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/cluster/manifests"
)

func names(objs []*unstructured.Unstructured) string {
	var out []string
	for _, o := range objs {
		out = append(out, o.GetKind()+"/"+o.GetName())
	}
	return strings.Join(out, " ")
}

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{
		"b.yaml":             "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b1}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b2}\n---\n",
		"a.json":             `{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a1"}}]}`,
		"kustomization.yaml": "resources: [b.yaml]",
		"notes.txt":          "nothing",
		"deeper/c.yaml":      "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objs, err := manifests.Read(dir, filepath.Join(dir, "deeper", "c.yaml"))
	if want := "Secret/a1 ConfigMap/b1 ConfigMap/b2 ConfigMap/c"; err != nil || names(objs) != want {
		t.Errorf("got %s, %v, want %s", names(objs), err, want)
	}
	if _, err := manifests.Read(filepath.Join(dir, "missing")); err == nil {
		t.Error("a path that is missing is no error")
	}
	for _, bad := range []string{"kind: ConfigMap", "apiVersion: v1\nkind: [", "just words"} {
		if _, err := manifests.Parse([]byte(bad)); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}

const thing = `
apiVersion: example.com/v1
kind: Thing
metadata: {name: first, namespace: ours}
spec: {size: 3}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: last}
webhooks: []
---
apiVersion: v1
kind: Namespace
metadata: {name: ours}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, plural: things}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
`

func TestApplyFindsAnOrderInWhichAllCanBeWritten(t *testing.T) {
	t.Parallel()
	objs, err := manifests.Parse([]byte(thing))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := names(manifests.Order(objs)), "CustomResourceDefinition/things.example.com Namespace/ours Thing/first ValidatingWebhookConfiguration/last"; got != want {
		t.Errorf("order: got %s, want %s", got, want)
	}
	c := clustertest.APIServer(t)
	for i := range 2 { // what is there already is no obstacle
		a, err := manifests.NewApplier(c.RESTConfig(), "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Apply(t.Context(), objs); err != nil {
			t.Fatalf("time %d: %v", i, err)
		}
	}
	got := &unstructured.Unstructured{}
	got.SetAPIVersion("example.com/v1")
	got.SetKind("Thing")
	if err := c.Client().Get(t.Context(), client.ObjectKey{Namespace: "ours", Name: "first"}, got); err != nil {
		t.Fatal(err)
	}
	if size, _, _ := unstructured.NestedInt64(got.Object, "spec", "size"); size != 3 {
		t.Errorf("stored: got %v", got.Object)
	}
	a, err := manifests.NewApplier(c.RESTConfig(), "test")
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := manifests.Parse([]byte("apiVersion: example.com/v1\nkind: Unknown\nmetadata: {name: a}"))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(t.Context(), unknown); err == nil || !strings.Contains(err.Error(), `apply Unknown a: no matches for kind "Unknown" in version "example.com/v1"`) {
		t.Errorf("a kind that nobody defines: got %v", err)
	}
}

// TestAReplacedWebhookKeepsNoOtherServer has a webhook that a tool such as helm
// has installed asked elsewhere, and back: a url and a service exclude each
// other.
func TestAReplacedWebhookKeepsNoOtherServer(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), clustertest.APIServer(t)
	parse := func(config string) []*unstructured.Unstructured {
		objs, err := manifests.Parse([]byte(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: hook, labels: {app: hook}}
webhooks: [{name: hook.example.com, admissionReviewVersions: [v1], sideEffects: None, clientConfig: ` + config + `}]`))
		if err != nil {
			t.Fatal(err)
		}
		return objs
	}
	const service, url = "{service: {namespace: a, name: b, path: /c}}", "{url: 'https://127.0.0.1:9443/c'}"
	helm := parse(service)[0]
	helm.SetAnnotations(map[string]string{"meta.helm.sh/release-name": "hook", "inject": "yes"})
	if err := c.Client().Create(ctx, helm, client.FieldOwner("helm")); err != nil {
		t.Fatal(err)
	}
	for _, config := range []string{url, service, url} {
		a, err := manifests.NewApplier(c.RESTConfig(), "test")
		if err != nil {
			t.Fatal(err)
		}
		objs := parse(config)
		a.Replaced = []string{"ValidatingWebhookConfiguration hook"}
		a.Dropped = func(annotation string) bool { return annotation == "inject" }
		if err := a.Apply(ctx, objs); err != nil {
			t.Fatal(err)
		}
		got := &admissionregistrationv1.ValidatingWebhookConfiguration{}
		if err := c.Client().Get(ctx, client.ObjectKey{Name: "hook"}, got); err != nil {
			t.Fatal(err)
		}
		is := got.Webhooks[0].ClientConfig
		if (is.URL != nil) != (config == url) || (is.Service != nil) != (config == service) {
			t.Errorf("%s: got %+v", config, is)
		}
		if got.Annotations["meta.helm.sh/release-name"] != "hook" || got.Annotations["inject"] != "" || got.Labels["app"] != "hook" {
			t.Errorf("%s: metadata %v", config, got.ObjectMeta)
		}
	}
}

// TestServerSideApplyGivesBackAWebhook has whoever applies a webhook with its
// service do so again while it is asked by a url.
func TestServerSideApplyGivesBackAWebhook(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), clustertest.APIServer(t)
	parse := func(t *testing.T, name, config string) []*unstructured.Unstructured {
		t.Helper()
		objs, err := manifests.Parse([]byte(`
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: ` + name + `}
webhooks:
- {name: one.example.com, admissionReviewVersions: [v1], sideEffects: None, clientConfig: ` + config + `}
- {name: two.example.com, admissionReviewVersions: [v1], sideEffects: None, clientConfig: ` + config + `}`))
		if err != nil {
			t.Fatal(err)
		}
		return objs
	}
	const service, url = "{service: {namespace: a, name: b, path: /c}}", "{url: 'https://127.0.0.1:9443/c', caBundle: Y2E=}"
	for _, tc := range []struct{ name, before, after string }{
		{"kubectl, of what it has applied", "kubectl", "kubectl"},
		{"helm, of what it has applied", "helm", "helm"},
		{"kubectl, of what it has not seen before", "", "kubectl"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			object := "first" + tc.before
			apply := func(manager string) error {
				return c.Client().Apply(ctx, client.ApplyConfigurationFromUnstructured(parse(t, object, service)[0]), client.FieldOwner(manager))
			}
			if tc.before != "" {
				if err := apply(tc.before); err != nil {
					t.Fatal(err)
				}
			}
			a, err := manifests.NewApplier(c.RESTConfig(), "")
			if err != nil {
				t.Fatal(err)
			}
			a.Replaced = []string{"MutatingWebhookConfiguration " + object}
			for range 2 { // what is pointed already is pointed again
				if err := a.Apply(ctx, parse(t, object, url)); err != nil {
					t.Fatal(err)
				}
			}
			if err := apply(tc.after); err != nil {
				t.Fatal(err)
			}
			got := &admissionregistrationv1.MutatingWebhookConfiguration{}
			if err := c.Client().Get(ctx, client.ObjectKey{Name: object}, got); err != nil {
				t.Fatal(err)
			}
			for _, w := range got.Webhooks {
				if is := w.ClientConfig; is.URL != nil || is.Service == nil || len(is.CABundle) > 0 {
					t.Errorf("%s: got %+v", w.Name, is)
				}
			}
		})
	}
}

// TestAnObjectIsAppliedAsBefore applies what another has applied, who then
// changes it.
func TestAnObjectIsAppliedAsBefore(t *testing.T) {
	t.Parallel()
	ctx, c := t.Context(), clustertest.APIServer(t)
	for _, before := range []string{"helm", ""} {
		parse := func(value string) []*unstructured.Unstructured {
			objs, err := manifests.Parse([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {namespace: default, name: as" + before + "}\ndata: {key: " + value + "}"))
			if err != nil {
				t.Fatal(err)
			}
			return objs
		}
		apply := func(manager, value string) {
			t.Helper()
			if err := c.Client().Apply(ctx, client.ApplyConfigurationFromUnstructured(parse(value)[0]), client.FieldOwner(manager)); err != nil {
				t.Errorf("%s applies: %v", manager, err)
			}
		}
		after := "kubectl"
		if before != "" {
			apply(before, "one")
			after = before
		}
		a, err := manifests.NewApplier(c.RESTConfig(), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Apply(ctx, parse("two")); err != nil {
			t.Fatal(err)
		}
		apply(after, "three")
	}
}

func TestFromObjects(t *testing.T) {
	given := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "a/v1", "kind": "B", "metadata": map[string]any{"name": "u"}}}
	objs, err := manifests.FromObjects(nil,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "c"}},
		&apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "d"}}, given)
	if want := "ConfigMap/c CustomResourceDefinition/d B/u"; err != nil || names(objs) != want {
		t.Fatalf("got %s, %v, want %s", names(objs), err, want)
	}
	if fmt.Sprint(objs[0].Object) != "map[apiVersion:v1 kind:ConfigMap metadata:map[name:c]]" {
		t.Errorf("got %v", objs[0].Object)
	}
	objs[2].SetName("changed")
	if given.GetName() != "u" {
		t.Error("the object that was given has changed")
	}
}
