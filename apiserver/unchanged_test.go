package apiserver_test

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// Whoever applies the same again and again, as tools for deployment do, must
// not make new versions, whatever the time is.
func TestWhatIsWrittenAgainIsNoNewVersion(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	api := k.AppsV1().Deployments("default")
	const whole = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "NAME", "creationTimestamp": null}, "spec": {
		"selector": {"matchLabels": {"app": "NAME"}}, "template": {"metadata": {"annotations": {}, "labels": {"app": "NAME"}},
		"spec": {"containers": [{"name": "web", "image": "web:1", "resources": {"limits": {"memory": "2048Mi"}}}]}}}}`
	patch := func(kind types.PatchType, body string) func(name string) *rest.Request {
		return func(name string) *rest.Request {
			return k.AppsV1().RESTClient().Patch(kind).Name(name).Body([]byte(nameIt(body, name)))
		}
	}
	for name, write := range map[string]func(name string) *rest.Request{
		"applied":               patch(types.ApplyPatchType, whole),
		"patched-strategically": patch(types.StrategicMergePatchType, `{"spec": {"replicas": 3}}`),
		"merged":                patch(types.MergePatchType, `{"spec": {"replicas": 3}}`),
		"patched-by-operations": patch(types.JSONPatchType, `[{"op": "replace", "path": "/spec/replicas", "value": 3}]`),
		"updated-by-a-whole-one": func(name string) *rest.Request {
			return k.AppsV1().RESTClient().Put().Name(name).Body([]byte(nameIt(whole, name)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			send := func() *appsv1.Deployment {
				t.Helper()
				out := &appsv1.Deployment{}
				if err := write(name).Namespace("default").Resource("deployments").Param("fieldManager", "tool").Do(ctx).Into(out); err != nil {
					t.Fatal(err)
				}
				return out
			}
			if name != "applied" {
				if _, err := api.Create(ctx, deployment(name), metav1.CreateOptions{FieldManager: "other"}); err != nil {
					t.Fatal(err)
				}
			}
			first := send()
			// The times of managed fields are whole seconds.
			for latest(first).Unix() == time.Now().Unix() {
				time.Sleep(10 * time.Millisecond)
			}
			if after := send(); after.ResourceVersion != first.ResourceVersion {
				t.Errorf("version %s became %s\nbefore %+v\nafter  %+v", first.ResourceVersion, after.ResourceVersion, first, after)
			}
		})
	}
}

// latest is when a field of the object got its manager last.
func latest(d *appsv1.Deployment) time.Time {
	var out time.Time
	for _, m := range d.ManagedFields {
		if m.Time.After(out) {
			out = m.Time.Time
		}
	}
	return out
}

func nameIt(body, name string) string { return strings.ReplaceAll(body, "NAME", name) }
