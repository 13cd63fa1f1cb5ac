package apiserver_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

func TestPodsAreAdmitted(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	ctx := t.Context()
	if _, err := k.CoreV1().Pods("default").Create(ctx, pod("early"), metav1.CreateOptions{}); !apierrors.IsForbidden(err) ||
		err.Error() != `pods "early" is forbidden: error looking up service account default/default: serviceaccount "default" not found` {
		t.Errorf("%v", err)
	}
	account(t, k, "default")
	p, err := k.CoreV1().Pods("default").Create(ctx, pod("a"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if p.Spec.ServiceAccountName != "default" || *p.Spec.Priority != 0 || len(p.Spec.Tolerations) != 2 || *p.Spec.Tolerations[0].TolerationSeconds != 300 ||
		p.Status.Phase != corev1.PodPending || p.Status.QOSClass != corev1.PodQOSBestEffort || p.Generation != 1 {
		t.Errorf("%+v %+v", p.Spec, p.Status)
	}
	v := p.Spec.Volumes[0]
	if m := p.Spec.Containers[0].VolumeMounts[0]; !strings.HasPrefix(v.Name, "kube-api-access-") || m.Name != v.Name || m.MountPath != "/var/run/secrets/kubernetes.io/serviceaccount" || !m.ReadOnly ||
		*v.Projected.Sources[0].ServiceAccountToken.ExpirationSeconds != 3607 || *v.Projected.DefaultMode != 0o644 {
		t.Errorf("%+v", v)
	}
	if _, err := k.SchedulingV1().PriorityClasses().Create(ctx, &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: "high"}, Value: 7, PreemptionPolicy: ptr.To(corev1.PreemptNever)}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	high := pod("high")
	high.Spec.PriorityClassName = "high"
	if p, err = k.CoreV1().Pods("default").Create(ctx, high, metav1.CreateOptions{}); err != nil || *p.Spec.Priority != 7 || *p.Spec.PreemptionPolicy != corev1.PreemptNever {
		t.Errorf("%v %+v", err, p.Spec)
	}
	silent := p.DeepCopy()
	silent.Spec.Priority, silent.Spec.PreemptionPolicy = nil, nil
	if p, err = k.CoreV1().Pods("default").Update(ctx, silent, metav1.UpdateOptions{}); err != nil || *p.Spec.Priority != 7 || *p.Spec.PreemptionPolicy != corev1.PreemptNever {
		t.Errorf("replaced by a client that says nothing of priorities: %v", err)
	}
	high = pod("none")
	high.Spec.PriorityClassName = "none"
	if _, err = k.CoreV1().Pods("default").Create(ctx, high, metav1.CreateOptions{}); err == nil || err.Error() != `pods "none" is forbidden: no PriorityClass with name none was found` {
		t.Errorf("%v", err)
	}
}

func TestBindingAndEviction(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	ctx, api := t.Context(), k.CoreV1().Pods("default")
	account(t, k, "default")
	made, err := api.Create(ctx, pod("p"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	bind := func(node string, uid types.UID) error {
		return api.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: uid}, Target: corev1.ObjectReference{Kind: "Node", Name: node}}, metav1.CreateOptions{})
	}
	if err := bind("n", "other"); !apierrors.IsConflict(err) {
		t.Errorf("another UID: %v", err)
	}
	if err := bind("n", made.UID); err != nil {
		t.Fatal(err)
	}
	if err := bind("m", ""); !apierrors.IsConflict(err) || err.Error() != `Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n"` {
		t.Errorf("%v", err)
	}
	p, err := api.Get(ctx, "p", metav1.GetOptions{})
	if err != nil || p.Spec.NodeName != "n" || p.Status.Conditions[0].Type != corev1.PodScheduled || p.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("%v %+v", err, p.Status)
	}
	if p.Generation != made.Generation {
		t.Logf("binding counts in the generation: %d", p.Generation)
	}

	p, err = api.UpdateEphemeralContainers(ctx, "p", withEphemeral(p), metav1.UpdateOptions{})
	if err != nil || len(p.Spec.EphemeralContainers) != 1 || p.Generation != made.Generation+1 {
		t.Errorf("%v %+v", err, p)
	}
	less := p.DeepCopy()
	less.Spec.EphemeralContainers = nil
	if _, err := api.UpdateEphemeralContainers(ctx, "p", less, metav1.UpdateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("%v", err)
	}
	if _, err := api.Update(ctx, func() *corev1.Pod { c := p.DeepCopy(); c.Spec.Containers[0].Name = "x"; return c }(), metav1.UpdateOptions{}); !apierrors.IsInvalid(err) ||
		!strings.Contains(err.Error(), "spec: Forbidden: pod updates may not change fields other than") {
		t.Errorf("%v", err)
	}

	if err := api.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: named("p"), DeleteOptions: &metav1.DeleteOptions{DryRun: []string{"All"}}}); err != nil {
		t.Errorf("%v", err)
	}
	if p, err = api.Get(ctx, "p", metav1.GetOptions{}); err != nil || p.DeletionTimestamp != nil {
		t.Errorf("a dry run: %v", err)
	}
	if err := api.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: named("p")}); err != nil {
		t.Errorf("%v", err)
	}
	if p, err = api.Get(ctx, "p", metav1.GetOptions{}); err != nil || p.DeletionTimestamp == nil || *p.DeletionGracePeriodSeconds != 30 {
		t.Fatalf("%v %+v", err, p.ObjectMeta)
	}
	if err := api.Delete(ctx, "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Error(err)
	}
	if _, err = api.Get(ctx, "p", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
	if err := api.EvictV1(ctx, &policyv1.Eviction{ObjectMeta: named("p")}); !apierrors.IsNotFound(err) {
		t.Error(err)
	}
}

func withEphemeral(p *corev1.Pod) *corev1.Pod {
	c := p.DeepCopy()
	c.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "d:1", TerminationMessagePolicy: "File", ImagePullPolicy: "IfNotPresent"}}}
	return c
}

func TestNamespacesEnd(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	ctx, api := t.Context(), k.CoreV1().Namespaces()
	ns, err := api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceActive || ns.Labels["kubernetes.io/metadata.name"] != "a" || len(ns.Spec.Finalizers) != 1 || ns.Spec.Finalizers[0] != "kubernetes" {
		t.Fatalf("%v %+v", err, ns)
	}
	if err := api.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ns, err = api.Get(ctx, "a", metav1.GetOptions{})
	if err != nil || ns.Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("%v %+v", err, ns)
	}
	_, err = k.CoreV1().ConfigMaps("a").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, metav1.CreateOptions{})
	if !apierrors.IsForbidden(err) || err.Error() != `configmaps "x" is forbidden: unable to create new content in namespace a because it is being terminated` {
		t.Errorf("%v", err)
	}
	ns.Status.Conditions = []corev1.NamespaceCondition{{Type: corev1.NamespaceDeletionContentFailure, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now()}}
	if _, err = api.UpdateStatus(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if ns, err = api.Get(ctx, "a", metav1.GetOptions{}); err != nil {
		t.Fatalf("a change of the status ended it: %v", err)
	}
	ns.Spec.Finalizers = nil
	if _, err := api.Finalize(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Get(ctx, "a", metav1.GetOptions{}); apierrors.IsNotFound(err) {
		return
	}
	if err := api.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Get(ctx, "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("%v", err)
	}
	if err := api.Delete(ctx, "default", metav1.DeleteOptions{}); err == nil || err.Error() != `namespaces "default" is forbidden: this namespace may not be deleted` {
		t.Errorf("%v", err)
	}
}

func TestServicesHaveWhatTheyHoldAndNoMore(t *testing.T) {
	t.Parallel()
	s := start(t, apiserver.Config{})
	k, ctx := clientset(t, s.admin()), t.Context()
	api := k.CoreV1().Services("default")
	claimed := func() string {
		t.Helper()
		ips, err := k.NetworkingV1().IPAddresses().List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ports, err := s.Claimed(ctx, "servicenodeports")
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(len(ips.Items), "/", len(ports))
	}
	if c := claimed(); c != "1/0" {
		t.Fatalf("of the cluster's own service: %s", c)
	}
	service := func(name string) *corev1.Service {
		return &corev1.Service{ObjectMeta: named(name), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: []corev1.ServicePort{{Port: 80}}}}
	}
	dry, err := api.Create(ctx, service("dry"), metav1.CreateOptions{DryRun: []string{"All"}})
	if err != nil || dry.Spec.ClusterIP == "" || dry.Spec.Ports[0].NodePort == 0 || claimed() != "1/0" {
		t.Errorf("%v %+v, %s", err, dry, claimed())
	}
	bad := service("bad")
	bad.Spec.Ports[0].Port = 0
	if _, err := api.Create(ctx, bad, metav1.CreateOptions{}); !apierrors.IsInvalid(err) || claimed() != "1/0" {
		t.Errorf("%v, %s", err, claimed())
	}
	svc, err := api.Create(ctx, service("a"), metav1.CreateOptions{})
	if err != nil || claimed() != "2/1" {
		t.Fatalf("%v, %s", err, claimed())
	}
	if _, err := api.Create(ctx, service("a"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) || claimed() != "2/1" {
		t.Errorf("%v, %s", err, claimed())
	}
	if got, err := api.Patch(ctx, "a", types.MergePatchType, []byte(`{"spec":{"type":"ClusterIP"}}`), metav1.PatchOptions{}); err != nil || got.Spec.ClusterIP != svc.Spec.ClusterIP || claimed() != "2/0" {
		t.Errorf("%v, %s", err, claimed())
	}
	if _, err := api.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":["example.com/hold"]}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil || claimed() != "2/0" {
		t.Errorf("%v, %s", err, claimed())
	}
	if _, err := api.Patch(ctx, "a", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil || claimed() != "1/0" {
		t.Errorf("%v, %s", err, claimed())
	}
	if _, err := api.Create(ctx, service("b"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if a := rawTo(t, s.admin()).do("DELETE", "/api/v1/namespaces/default/services?fieldSelector=metadata.name%3Db", ""); a.code != 200 || claimed() != "1/0" {
		t.Errorf("%d %s, %s", a.code, a.body, claimed())
	}
}

func TestEventsGo(t *testing.T) {
	t.Parallel()
	s := start(t, apiserver.Config{EventTTL: time.Second})
	k, ctx := clientset(t, s.admin()), t.Context()
	if _, err := k.CoreV1().Events("default").Create(ctx, &corev1.Event{ObjectMeta: named("e"), InvolvedObject: corev1.ObjectReference{Namespace: "default", Name: "x"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		_, err := k.CoreV1().Events("default").Get(ctx, "e", metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("still there: %w", err)
	})
}

func TestCustomResources(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	x, err := apiextensions.NewForConfig(c.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	r := rawTo(t, c.RESTConfig())
	str := apiextensionsv1.JSONSchemaProps{Type: "string"}
	_, err = x.ApiextensionsV1().CustomResourceDefinitions().Create(context.Background(), &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "boats.sea.example.com"},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: "sea.example.com", Scope: apiextensionsv1.NamespaceScoped,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "boats", Singular: "boat", Kind: "Boat", ListKind: "BoatList", ShortNames: []string{"bt"}},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
				{
					Name: "v1", Served: true, Storage: true,
					Subresources: &apiextensionsv1.CustomResourceSubresources{
						Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
						Scale:  &apiextensionsv1.CustomResourceSubresourceScale{SpecReplicasPath: ".spec.masts", StatusReplicasPath: ".status.masts"},
					},
					AdditionalPrinterColumns: []apiextensionsv1.CustomResourceColumnDefinition{{Name: "Masts", Type: "integer", JSONPath: ".spec.masts"}},
					Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"spec": {
							Type: "object",
							Properties: map[string]apiextensionsv1.JSONSchemaProps{
								"masts": {Type: "integer", Default: &apiextensionsv1.JSON{Raw: []byte("1")}},
								"name":  {Type: "string", MaxLength: ptr.To[int64](20)},
							},
							XValidations: apiextensionsv1.ValidationRules{{Rule: "self.masts < 5", Message: "too many masts"}},
						},
						"status": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"masts": {Type: "integer"}, "at": str}},
					}}},
				},
				{Name: "v1beta1", Served: true, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{Type: "object", XPreserveUnknownFields: ptr.To(true)}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	path := "/apis/sea.example.com/v1/namespaces/default/boats"
	boat := func(name, spec string) string {
		return `{"apiVersion":"sea.example.com/v1","kind":"Boat","metadata":{"name":"` + name + `"},"spec":` + spec + `,"status":{"at":"sea"}}`
	}
	// Nothing needs to be tried again once the definition is established.
	eventually(t, func() error {
		d, err := x.ApiextensionsV1().CustomResourceDefinitions().Get(context.Background(), "boats.sea.example.com", metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range d.Status.Conditions {
			if c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		return fmt.Errorf("%+v", d.Status.Conditions)
	})
	eventually(t, func() error {
		if a := r.do("POST", path, boat("a", `{"name":"x","wheels":4}`)); a.code != 201 {
			return fmt.Errorf("%d %s", a.code, a.body)
		}
		return nil
	})
	has := func(what string, a answer, code int, want ...string) {
		t.Helper()
		for _, w := range want {
			if a.code != code || !strings.Contains(string(a.body), w) {
				t.Errorf("%s: %d without %s: %s", what, a.code, w, a.body)
			}
		}
	}
	a := r.get(path + "/a")
	has("defaults", a, 200, `"masts":1`)
	if strings.Contains(string(a.body), "wheels") || strings.Contains(string(a.body), `"at"`) {
		t.Errorf("kept what is not in the schema or of the status: %s", a.body)
	}
	has("another version", r.get("/apis/sea.example.com/v1beta1/namespaces/default/boats/a"), 200, `"apiVersion":"sea.example.com/v1beta1"`)
	has("a rule", r.do("POST", path, boat("b", `{"masts":7}`)), 422, `Boat.sea.example.com \"b\" is invalid: spec: Invalid value: too many masts`)
	has("a type", r.do("POST", path, boat("b", `{"masts":"x"}`)), 422, `spec.masts: Invalid value: \"string\": spec.masts in body must be of type integer: \"string\"`)
	has("the status", r.do("PATCH", path+"/a/status", `{"status":{"at":"port"},"spec":{"masts":3}}`, "Content-Type", "application/merge-patch+json"), 200, `"at":"port"`, `"masts":1`)
	has("the scale", r.do("PATCH", path+"/a/scale", `{"spec":{"replicas":3}}`, "Content-Type", "application/merge-patch+json"), 200, `"kind":"Scale"`, `"replicas":3`)
	has("apply", r.do("PATCH", path+"/c?fieldManager=me", boat("c", `{"masts":2}`), "Content-Type", "application/apply-patch+yaml"), 201, `"manager":"me"`)
	has("strict", r.do("POST", path+"?fieldValidation=Strict", boat("d", `{"wheels":2}`)), 400, `unknown field \"spec.wheels\"`)
	has("columns", r.get(path, "Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"), 200, `"name":"Masts"`, `"cells":["a",3]`)
	has("list", r.get(path+"?limit=1"), 200, `"kind":"BoatList"`, `"remainingItemCount":1`)
	eventually(t, func() error {
		if a := r.get("/apis"); !strings.Contains(string(a.body), `"preferredVersion":{"groupVersion":"sea.example.com/v1"`) {
			return fmt.Errorf("%s", a.body)
		}
		if a := r.get("/openapi/v3/apis/sea.example.com/v1"); a.code != http.StatusOK || !strings.Contains(string(a.body), "masts") {
			return fmt.Errorf("%d %.200s", a.code, a.body)
		}
		return nil
	})
	checkDocuments(t, r, "sea.example.com", "boats")
	if err := x.ApiextensionsV1().CustomResourceDefinitions().Delete(context.Background(), "boats.sea.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if a := r.get(path); a.code != http.StatusNotFound {
			return fmt.Errorf("%d %s", a.code, a.body)
		}
		for _, path := range []string{"/apis", "/openapi/v3", "/openapi/v2"} {
			if a := r.get(path); a.code != http.StatusOK || strings.Contains(string(a.body), "sea.example.com") {
				return fmt.Errorf("%s: %d %.300s", path, a.code, a.body)
			}
		}
		return nil
	})
}
