package apiserver_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: named(name), Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](2), Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
		},
	}}
}

func makeMap(t testing.TB, k *kubernetes.Clientset, m *corev1.ConfigMap) *corev1.ConfigMap {
	t.Helper()
	out, err := k.CoreV1().ConfigMaps("default").Create(t.Context(), m, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestUpdates(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	api, ctx := k.CoreV1().ConfigMaps("default"), t.Context()
	first := makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("a")})
	if first.UID == "" || first.ResourceVersion == "" || first.CreationTimestamp.IsZero() || first.Generation != 0 {
		t.Errorf("%+v", first.ObjectMeta)
	}
	changed := first.DeepCopy()
	changed.Data = map[string]string{"k": "1"}
	second, err := api.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil || second.ResourceVersion == first.ResourceVersion {
		t.Fatalf("%v %+v", err, second)
	}
	changed.Data["k"] = "2"
	if _, err := api.Update(ctx, changed, metav1.UpdateOptions{}); !apierrors.IsConflict(err) ||
		err.Error() != `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again` {
		t.Errorf("an old version: %v", err)
	}
	changed.ResourceVersion, changed.UID = "", ""
	third, err := api.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil || third.Data["k"] != "2" || third.UID != first.UID {
		t.Errorf("without a version: %v %+v", err, third)
	}
	same, err := api.Update(ctx, third, metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != third.ResourceVersion {
		t.Errorf("without a change: %v, version %s became %s", err, third.ResourceVersion, same.ResourceVersion)
	}
	other := third.DeepCopy()
	other.UID = "1234"
	if _, err := api.Update(ctx, other, metav1.UpdateOptions{}); !apierrors.IsConflict(err) || !strings.Contains(err.Error(), "UID in precondition: 1234, UID in object meta: ") {
		t.Errorf("another UID: %v", err)
	}
	if _, err := api.Update(ctx, &corev1.ConfigMap{ObjectMeta: named("none")}, metav1.UpdateOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("what is not there: %v", err)
	}
}

func TestGenerations(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	api, ctx := k.AppsV1().Deployments("default"), t.Context()
	d, err := api.Create(ctx, deployment("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name   string
		change func(*appsv1.Deployment)
		status bool
		want   int64
	}{
		{"labels do not count", func(d *appsv1.Deployment) { d.Labels = map[string]string{"a": "b"} }, false, 1},
		{"the spec counts", func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](5) }, false, 2},
		{"nothing changed does not count", func(*appsv1.Deployment) {}, false, 2},
		{"what a client sets does not count", func(d *appsv1.Deployment) { d.Generation = 99 }, false, 2},
		{"status of the main resource is not written", func(d *appsv1.Deployment) { d.Status.Replicas = 7 }, false, 2},
		{"status does not count", func(d *appsv1.Deployment) { d.Status.Replicas = 3; d.Spec.Replicas = ptr.To[int32](1) }, true, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.change(d)
			if c.status {
				d, err = api.UpdateStatus(ctx, d, metav1.UpdateOptions{})
			} else {
				d, err = api.Update(ctx, d, metav1.UpdateOptions{})
			}
			if err != nil || d.Generation != c.want {
				t.Fatalf("%v, generation %d", err, d.Generation)
			}
			if !c.status && d.Status.Replicas != 0 || c.status && (d.Status.Replicas != 3 || *d.Spec.Replicas != 5) {
				t.Errorf("spec %d, status %d", *d.Spec.Replicas, d.Status.Replicas)
			}
		})
	}
}

func TestPatches(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	api, ctx := k.AppsV1().Deployments("default"), t.Context()
	if _, err := api.Create(ctx, deployment("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	images := func(d *appsv1.Deployment) string {
		var out []string
		for _, c := range d.Spec.Template.Spec.Containers {
			out = append(out, c.Name+"="+c.Image)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		name  string
		kind  types.PatchType
		patch string
		want  string
	}{
		{"a JSON patch replaces by place", types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/0/image","value":"web:2"}]`, "web=web:2"},
		{"a strategic patch merges lists by key", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"side:1"}]}}}}`, "side=side:1 web=web:2"},
		{"a strategic patch deletes by directive", types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"side","$patch":"delete"}]}}}}`, "web=web:2"},
		{"a merge patch replaces lists", types.MergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"new","image":"new:1"}]}}}}`, "new=new:1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, err := api.Patch(ctx, "web", c.kind, []byte(c.patch), metav1.PatchOptions{})
			if err != nil || images(d) != c.want {
				t.Fatalf("%v, %s", err, images(d))
			}
		})
	}
	d, err := api.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":9},"status":{"replicas":4}}`), metav1.PatchOptions{}, "status")
	if err != nil || *d.Spec.Replicas != 2 || d.Status.Replicas != 4 {
		t.Errorf("a patch of the status: %v, spec %d, status %d", err, *d.Spec.Replicas, d.Status.Replicas)
	}
	if _, err := api.Patch(ctx, "web", types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1"},"spec":{"replicas":9}}`), metav1.PatchOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a patch of an old version: %v", err)
	}
	if _, err := api.Patch(ctx, "none", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a patch of what is not there: %v", err)
	}
	if _, err := api.Patch(ctx, "web", types.MergePatchType, []byte(`{"spec":{"replicas":-1}}`), metav1.PatchOptions{}); !apierrors.IsInvalid(err) ||
		err.Error() != `Deployment.apps "web" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0` {
		t.Errorf("an invalid patch: %v", err)
	}
}

func TestScale(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, r := clientset(t, c.RESTConfig()), rawTo(t, c.RESTConfig())
	ctx := t.Context()
	if _, err := k.AppsV1().Deployments("default").Create(ctx, deployment("web"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := k.AppsV1().Deployments("default").GetScale(ctx, "web", metav1.GetOptions{})
	if err != nil || s.Spec.Replicas != 2 || s.Status.Selector != "app=web" {
		t.Fatalf("%v %+v", err, s)
	}
	s.Spec.Replicas = 4
	if s, err = k.AppsV1().Deployments("default").UpdateScale(ctx, "web", s, metav1.UpdateOptions{FieldManager: "scaler"}); err != nil || s.Spec.Replicas != 4 {
		t.Fatalf("%v %+v", err, s)
	}
	d, err := k.AppsV1().Deployments("default").Get(ctx, "web", metav1.GetOptions{})
	if err != nil || *d.Spec.Replicas != 4 || d.Generation != 2 {
		t.Errorf("%v %+v", err, d.Spec)
	}
	if owner := ownerOf(d.ManagedFields, "f:replicas"); owner != "scaler/scale" {
		t.Errorf("replicas belong to %q", owner)
	}
	s.Spec.Replicas = -1
	if _, err = k.AppsV1().Deployments("default").UpdateScale(ctx, "web", s, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) ||
		!strings.Contains(err.Error(), "spec.replicas: Invalid value: -1: must be greater than or equal to 0") {
		t.Errorf("%v", err)
	}
	old := s.DeepCopy()
	old.Spec.Replicas, old.ResourceVersion = 3, "1"
	if _, err = k.AppsV1().Deployments("default").UpdateScale(ctx, "web", old, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("an old version: %v", err)
	}
	var patched autoscalingv1.Scale
	r.do("PATCH", "/apis/apps/v1/namespaces/default/deployments/web/scale", `{"spec":{"replicas":6}}`, "Content-Type", "application/merge-patch+json").into(t, &patched)
	if patched.Spec.Replicas != 6 || patched.Kind != "Scale" || patched.APIVersion != "autoscaling/v1" {
		t.Errorf("%+v", patched)
	}
}

// ownerOf is the manager that a field belongs to.
func ownerOf(entries []metav1.ManagedFieldsEntry, field string) string {
	var out []string
	for _, e := range entries {
		if strings.Contains(string(e.FieldsV1.Raw), `"`+field+`"`) {
			name := e.Manager
			if e.Subresource != "" {
				name += "/" + e.Subresource
			}
			out = append(out, name)
		}
	}
	return strings.Join(out, ",")
}

func TestServerSideApply(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	api, ctx := k.AppsV1().Deployments("default"), t.Context()
	body := func(replicas int, image string) []byte {
		return fmt.Appendf(nil, `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":%d,"selector":{"matchLabels":{"a":"b"}},
			"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"name":"web","image":%q}]}}}}`, replicas, image)
	}
	d, err := api.Patch(ctx, "web", types.ApplyPatchType, body(2, "web:1"), metav1.PatchOptions{FieldManager: "one"})
	if err != nil || *d.Spec.Replicas != 2 || d.ManagedFields[0].Operation != metav1.ManagedFieldsOperationApply {
		t.Fatalf("create by apply: %v %+v", err, d)
	}
	_, err = api.Patch(ctx, "web", types.ApplyPatchType, body(3, "web:1"), metav1.PatchOptions{FieldManager: "two"})
	if !apierrors.IsConflict(err) || err.Error() != `Apply failed with 1 conflict: conflict with "one": .spec.replicas` {
		t.Errorf("a conflict: %v", err)
	}
	d, err = api.Patch(ctx, "web", types.ApplyPatchType, body(3, "web:1"), metav1.PatchOptions{FieldManager: "two", Force: ptr.To(true)})
	if err != nil || *d.Spec.Replicas != 3 || ownerOf(d.ManagedFields, "f:replicas") != "two" {
		t.Errorf("by force: %v, replicas of %s", err, ownerOf(d.ManagedFields, "f:replicas"))
	}
	if owners := ownerOf(d.ManagedFields, "f:image"); owners != "one,two" && owners != "two,one" {
		t.Errorf("the image is shared by %s", owners)
	}
	d, err = api.Patch(ctx, "web", types.ApplyPatchType, []byte(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"}}`), metav1.PatchOptions{FieldManager: "two"})
	if err != nil || *d.Spec.Replicas != 1 || ownerOf(d.ManagedFields, "f:image") != "one" {
		t.Errorf("what nobody applies any more has its default: %v, %d", err, *d.Spec.Replicas)
	}
	d, err = api.Patch(ctx, "web", types.ApplyPatchType, []byte(`{"apiVersion":"apps/v1","kind":"Deployment","status":{"replicas":2}}`), metav1.PatchOptions{FieldManager: "status"}, "status")
	if err != nil || d.Status.Replicas != 2 || !strings.Contains(ownerOf(d.ManagedFields, "f:replicas"), "status/status") {
		t.Errorf("status by apply: %v, %s", err, ownerOf(d.ManagedFields, "f:replicas"))
	}
	d, err = api.Patch(ctx, "web", types.ApplyPatchType, []byte(`{"apiVersion":"apps/v1","kind":"Deployment","status":{"replicas":7}}`), metav1.PatchOptions{FieldManager: "three"})
	if err != nil || d.Status.Replicas != 2 || strings.Contains(ownerOf(d.ManagedFields, "f:replicas"), "three") {
		t.Errorf("a status applied to the main resource: %v %+v", err, d.Status)
	}
	for _, c := range []struct {
		name, manager, body, err string
	}{
		{"a manager is needed", "", string(body(1, "a")), `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`},
		{"a field that there is not", "one", `{"apiVersion":"apps/v1","kind":"Deployment","spec":{"copies":1}}`, "failed to create typed patch object (/; apps/v1, Kind=Deployment): .spec.copies: field not declared in schema"},
		{"managed fields are not applied", "one", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"managedFields":[{"manager":"x","operation":"Apply","apiVersion":"apps/v1","fieldsType":"FieldsV1","fieldsV1":{}}]}}`, "metadata.managedFields must be nil"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := api.Patch(ctx, "web", types.ApplyPatchType, []byte(c.body), metav1.PatchOptions{FieldManager: c.manager})
			if err == nil || err.Error() != c.err {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestEveryGroupCanBeApplied(t *testing.T) {
	t.Parallel()
	r := rawTo(t, clustertest.APIServer(t).RESTConfig())
	for path, body := range map[string]string{
		"/api/v1/namespaces/default/services/a":                                        `{"apiVersion":"v1","kind":"Service","metadata":{"name":"a"},"spec":{"ports":[{"port":80}]}}`,
		"/api/v1/namespaces/default/pods/a":                                            `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"a"},"spec":{"serviceAccountName":"default","containers":[{"name":"a","image":"a"}]}}`,
		"/apis/batch/v1/namespaces/default/jobs/a":                                     `{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"a"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"a","image":"a"}]}}}}`,
		"/apis/coordination.k8s.io/v1/namespaces/default/leases/a":                     `{"apiVersion":"coordination.k8s.io/v1","kind":"Lease","metadata":{"name":"a"},"spec":{"holderIdentity":"me"}}`,
		"/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/a":                `{"apiVersion":"discovery.k8s.io/v1","kind":"EndpointSlice","metadata":{"name":"a"},"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"]}]}`,
		"/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/a":              `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"a"},"spec":{"podSelector":{}}}`,
		"/apis/policy/v1/namespaces/default/poddisruptionbudgets/a":                    `{"apiVersion":"policy/v1","kind":"PodDisruptionBudget","metadata":{"name":"a"},"spec":{"minAvailable":1,"selector":{"matchLabels":{"a":"b"}}}}`,
		"/apis/rbac.authorization.k8s.io/v1/clusterroles/a":                            `{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"ClusterRole","metadata":{"name":"a"},"rules":[{"apiGroups":[""],"resources":["pods"],"verbs":["get"]}]}`,
		"/apis/scheduling.k8s.io/v1/priorityclasses/a":                                 `{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":"a"},"value":5}`,
		"/apis/storage.k8s.io/v1/storageclasses/a":                                     `{"apiVersion":"storage.k8s.io/v1","kind":"StorageClass","metadata":{"name":"a"},"provisioner":"a/b"}`,
		"/apis/events.k8s.io/v1/namespaces/default/events/a":                           `{"apiVersion":"events.k8s.io/v1","kind":"Event","metadata":{"name":"a"},"eventTime":"2026-01-02T03:04:05.000000Z","reportingController":"a.b/c","reportingInstance":"x","action":"A","reason":"R","type":"Normal","regarding":{"namespace":"default"}}`,
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/things.a.example.com": `{"apiVersion":"apiextensions.k8s.io/v1","kind":"CustomResourceDefinition","metadata":{"name":"things.a.example.com"},"spec":{"group":"a.example.com","scope":"Namespaced","names":{"plural":"things","kind":"Thing"},"versions":[{"name":"v1","served":true,"storage":true,"schema":{"openAPIV3Schema":{"type":"object"}}}]}}`,
	} {
		if strings.HasSuffix(path, "/pods/a") {
			r.do("POST", "/api/v1/namespaces/default/serviceaccounts", `{"metadata":{"name":"default"}}`)
		}
		for _, code := range []int{201, 200} {
			a := r.do("PATCH", path+"?fieldManager=me", body, "Content-Type", "application/apply-patch+yaml")
			if a.code != code {
				t.Errorf("%s: %d %s", path, a.code, a.body)
			}
		}
	}
}

func TestDryRunStoresNothing(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	ctx, all := t.Context(), []string{metav1.DryRunAll}
	m, err := k.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "a-"}}, metav1.CreateOptions{DryRun: all})
	if err != nil || !strings.HasPrefix(m.Name, "a-") || m.UID == "" {
		t.Fatalf("%v %+v", err, m)
	}
	if _, err := k.CoreV1().ConfigMaps("default").Get(ctx, m.Name, metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	stored := makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("kept"), Data: map[string]string{"k": "1"}})
	changed := stored.DeepCopy()
	changed.Data["k"] = "2"
	if out, err := k.CoreV1().ConfigMaps("default").Update(ctx, changed, metav1.UpdateOptions{DryRun: all}); err != nil || out.Data["k"] != "2" {
		t.Errorf("%v %+v", err, out)
	}
	if out, err := k.CoreV1().ConfigMaps("default").Patch(ctx, "kept", types.MergePatchType, []byte(`{"data":{"k":"3"}}`), metav1.PatchOptions{DryRun: all}); err != nil || out.Data["k"] != "3" {
		t.Errorf("%v %+v", err, out)
	}
	if err := k.CoreV1().ConfigMaps("default").Delete(ctx, "kept", metav1.DeleteOptions{DryRun: all}); err != nil {
		t.Error(err)
	}
	if err := k.CoreV1().ConfigMaps("default").DeleteCollection(ctx, metav1.DeleteOptions{DryRun: all}, metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
	if err := k.CoreV1().Namespaces().Delete(ctx, "kube-public", metav1.DeleteOptions{DryRun: all}); !apierrors.IsForbidden(err) {
		t.Errorf("%v", err)
	}
	got, err := k.CoreV1().ConfigMaps("default").Get(ctx, "kept", metav1.GetOptions{})
	if err != nil || got.ResourceVersion != stored.ResourceVersion {
		t.Errorf("%v %+v", err, got)
	}
	account(t, k, "default")
	if token, err := k.CoreV1().Pods("default").Create(ctx, pod("a"), metav1.CreateOptions{DryRun: all}); err != nil || token.Spec.ServiceAccountName != "default" {
		t.Errorf("%v %+v", err, token)
	}
	if _, err := k.CoreV1().Pods("default").Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func TestUnknownFields(t *testing.T) {
	t.Parallel()
	r := rawTo(t, clustertest.APIServer(t).RESTConfig())
	body := func(name string) string {
		return `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"` + name + `"},"extra":1,"data":{"a":"1","a":"2"}}`
	}
	a := r.do("POST", maps+"?fieldValidation=Strict", body("strict"))
	if a.code != 400 || !strings.Contains(a.status(t).Message, `strict decoding error: unknown field "extra", duplicate field "data.a"`) &&
		!strings.Contains(a.status(t).Message, `strict decoding error: duplicate field "data.a", unknown field "extra"`) {
		t.Errorf("strict: %d %s", a.code, a.body)
	}
	a = r.do("POST", maps+"?fieldValidation=Warn", body("warn"))
	if w := strings.Join(a.header.Values("Warning"), "\n"); a.code != 201 || !strings.Contains(w, `299 - "unknown field \"extra\""`) || !strings.Contains(w, `299 - "duplicate field \"data.a\""`) {
		t.Errorf("warn: %d %s", a.code, w)
	}
	if a := r.do("POST", maps, body("default")); a.code != 201 || len(a.header.Values("Warning")) != 2 {
		t.Errorf("the default is to warn: %d %s", a.code, a.header)
	}
	if a := r.do("POST", maps+"?fieldValidation=Ignore", body("ignore")); a.code != 201 || len(a.header.Values("Warning")) != 0 {
		t.Errorf("ignore: %d %s", a.code, a.header)
	}
	a = r.do("PATCH", maps+"/warn?fieldValidation=Strict", `{"extra":1}`, "Content-Type", "application/merge-patch+json")
	if a.code != 422 && a.code != 400 {
		t.Errorf("strict patch: %d %s", a.code, a.body)
	}
}

func TestWarningsOfKinds(t *testing.T) {
	t.Parallel()
	r := rawTo(t, clustertest.APIServer(t).RESTConfig())
	a := r.do("POST", "/api/v1/namespaces/default/endpoints", `{"metadata":{"name":"a"}}`)
	if w := a.header.Get("Warning"); a.code != 201 || w != `299 - "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"` {
		t.Errorf("%d %q", a.code, w)
	}
}

func TestGeneratedNames(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	long := strings.Repeat("a", 300)
	for range 50 {
		m := makeMap(t, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "x"}})
		if len(m.Name) != 6 || m.GenerateName != "x" {
			t.Fatalf("%q", m.Name)
		}
	}
	s, err := k.CoreV1().Secrets("default").Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{GenerateName: long[:70]}}, metav1.CreateOptions{})
	if err != nil || len(s.Name) != 63 {
		t.Errorf("%v, a name of %d", err, len(s.Name))
	}
}

func TestDeletion(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k, r, ctx := clientset(t, c.RESTConfig()), rawTo(t, c.RESTConfig()), t.Context()
	api := k.CoreV1().ConfigMaps("default")
	m := makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("a")})
	for _, c := range []struct {
		name string
		pre  metav1.Preconditions
		err  string
	}{
		{"another UID", metav1.Preconditions{UID: ptr.To(types.UID("x"))}, `Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition (x) does not match the UID in record (` + string(m.UID) + `). The object might have been deleted and then recreated`},
		{"another version", metav1.Preconditions{ResourceVersion: ptr.To("1")}, `Operation cannot be fulfilled on ConfigMap "a": the ResourceVersion in the precondition (1) does not match the ResourceVersion in record (` + m.ResourceVersion + `). The object might have been modified`},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := api.Delete(ctx, "a", metav1.DeleteOptions{Preconditions: &c.pre})
			if !apierrors.IsConflict(err) || err.Error() != c.err {
				t.Errorf("%v", err)
			}
		})
	}
	a := r.do("DELETE", maps+"/a", fmt.Sprintf(`{"kind":"DeleteOptions","apiVersion":"v1","preconditions":{"uid":%q,"resourceVersion":%q}}`, m.UID, m.ResourceVersion))
	var s metav1.Status
	a.into(t, &s)
	if s.Status != "Success" || s.Details.Name != "a" || s.Details.Kind != "configmaps" || s.Details.UID != m.UID {
		t.Errorf("%s", a.body)
	}
	if err := api.Delete(ctx, "a", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}

	makeMap(t, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "held", Finalizers: []string{"example.com/hold"}}})
	if err := api.Delete(ctx, "held", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	held, err := api.Get(ctx, "held", metav1.GetOptions{})
	if err != nil || held.DeletionTimestamp == nil || *held.DeletionGracePeriodSeconds != 0 {
		t.Fatalf("%v %+v", err, held)
	}
	more := held.DeepCopy()
	more.Finalizers = append(more.Finalizers, "example.com/more")
	if _, err := api.Update(ctx, more, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "no new finalizers can be added if the object is being deleted") {
		t.Errorf("%v", err)
	}
	if _, err := api.Create(ctx, &corev1.ConfigMap{ObjectMeta: named("held")}, metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) || err.Error() != `object is being deleted: configmaps "held" already exists` {
		t.Errorf("%v", err)
	}
	held.Finalizers = nil
	if _, err := api.Update(ctx, held, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Get(ctx, "held", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}

	for policy, finalizer := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents, metav1.DeletePropagationOrphan: metav1.FinalizerOrphanDependents, metav1.DeletePropagationBackground: "",
	} {
		makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("p")})
		if err := api.Delete(ctx, "p", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		got, err := api.Get(ctx, "p", metav1.GetOptions{})
		if finalizer == "" {
			if !apierrors.IsNotFound(err) {
				t.Errorf("%s: %v", policy, err)
			}
			continue
		}
		if err != nil || len(got.Finalizers) != 1 || got.Finalizers[0] != finalizer {
			t.Fatalf("%s: %v %v", policy, err, got.Finalizers)
		}
		if _, err := api.Patch(ctx, "p", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := api.Delete(ctx, "p", metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletionPropagation("Sideways"))}); !apierrors.IsInvalid(err) {
		t.Errorf("%v", err)
	}

	for i := range 5 {
		makeMap(t, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("c", i), Labels: map[string]string{"odd": fmt.Sprint(i % 2)}}})
	}
	var gone corev1.ConfigMapList
	r.do("DELETE", maps+"?labelSelector=odd%3D1", "").into(t, &gone)
	left, err := api.List(ctx, metav1.ListOptions{LabelSelector: "odd"})
	if err != nil || len(left.Items) != 3 || len(gone.Items) != 2 {
		t.Errorf("%v, %d left, %d gone", err, len(left.Items), len(gone.Items))
	}
}

func TestSecretsAreImmutableWhenTheySaySo(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	m := makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("a"), Data: map[string]string{"k": "1"}, Immutable: ptr.To(true)})
	m.Data["k"] = "2"
	_, err := k.CoreV1().ConfigMaps("default").Update(t.Context(), m, metav1.UpdateOptions{})
	if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "data: Forbidden: field is immutable when `immutable` is set") {
		t.Errorf("%v", err)
	}
}

func TestStoredJSONIsWhatWasSent(t *testing.T) {
	t.Parallel()
	r := rawTo(t, clustertest.APIServer(t).RESTConfig())
	var sent, got corev1.ConfigMap
	r.do("POST", maps, `{"metadata":{"name":"a","annotations":{"x":"\u00e9\n"}},"binaryData":{"b":"AAEC"}}`).into(t, &sent)
	r.get(maps+"/a").into(t, &got)
	x, _ := json.Marshal(sent)
	y, _ := json.Marshal(got)
	if string(x) != string(y) || got.Annotations["x"] != "é\n" || string(got.BinaryData["b"]) != "\x00\x01\x02" {
		t.Errorf("%s\n%s", x, y)
	}
}
