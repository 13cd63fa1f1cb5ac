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
	const object = `{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "NAME", "creationTimestamp": null}, "spec": {
		"selector": {"matchLabels": {"app": "web"}}, "template": {"metadata": {"annotations": {}, "labels": {"app": "web"}},
		"spec": {"containers": [{"name": "web", "image": "web:1", "resources": {"limits": {"memory": "2048Mi"}}}]}}}}`
	patch := func(kind types.PatchType, body string) func(name string) *rest.Request {
		return func(name string) *rest.Request {
			return k.AppsV1().RESTClient().Patch(kind).Name(name).Body([]byte(nameIt(body, name)))
		}
	}
	for name, write := range map[string]func(name string) *rest.Request{
		"applied":               patch(types.ApplyPatchType, object),
		"patched-strategically": patch(types.StrategicMergePatchType, `{"spec": {"replicas": 3}}`),
		"merged":                patch(types.MergePatchType, `{"spec": {"replicas": 3}}`),
		"patched-by-operations": patch(types.JSONPatchType, `[{"op": "replace", "path": "/spec/replicas", "value": 3}]`),
		"updated-by-a-whole-one": func(name string) *rest.Request {
			return k.AppsV1().RESTClient().Put().Name(name).Body([]byte(nameIt(object, name)))
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
			for i := range first.ManagedFields {
				first.ManagedFields[i].Time = &metav1.Time{Time: time.Now().Add(-time.Hour).Truncate(time.Second)}
			}
			before, err := api.Update(ctx, first, metav1.UpdateOptions{FieldManager: "tool"})
			if err != nil {
				t.Fatal(err)
			}
			if after := send(); after.ResourceVersion != before.ResourceVersion {
				t.Errorf("version %s became %s\nbefore %+v\nafter  %+v", before.ResourceVersion, after.ResourceVersion, before, after)
			}
		})
	}
}

func nameIt(body, name string) string { return strings.ReplaceAll(body, "NAME", name) }
