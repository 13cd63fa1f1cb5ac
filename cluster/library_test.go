package cluster_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/cluster/manifests"
)

// eventually waits until a condition holds; what it says last is the failure.
func eventually(t *testing.T, what string, holds func() (bool, string)) {
	t.Helper()
	const patience = time.Minute
	said := ""
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		ok, state := holds()
		if ok {
			return
		}
		said = state
	}
	t.Fatalf("%s: not within %v; last: %s", what, patience, said)
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const definition = `
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

const webhookConfiguration = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: things}
webhooks:
- name: things.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  clientConfig: {service: {name: webhook-service, namespace: system, path: /validate}}
  rules: [{apiGroups: [example.com], apiVersions: [v1], operations: [CREATE], resources: [things]}]
`

func thing(name string, spec map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "example.com/v1", "kind": "Thing",
		"metadata": map[string]any{"namespace": "default", "name": name}, "spec": spec,
	}}
}

func TestWhatAClusterBeginsWithIsThereAndWebhooksReachThisProcess(t *testing.T) {
	t.Parallel()
	c := clustertest.With(t, cluster.Config{
		CRDs:      []string{write(t, "crd.yaml", definition+"---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: left-out}\n")},
		Manifests: []string{write(t, "more.yaml", "apiVersion: v1\nkind: Namespace\nmetadata: {name: ours}\n---\napiVersion: v1\nkind: Pod\nmetadata: {name: pod, namespace: ours}\nspec: {containers: [{name: c, image: example.com/i:v1}]}\n")},
		Objects: []client.Object{
			&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ours", Name: "settings"}, Data: map[string]string{"a": "b"}},
			thing("first", map[string]any{"size": int64(1)}),
		},
		Webhooks: &cluster.Webhooks{Manifests: []string{write(t, "webhook.yaml", webhookConfiguration)}},
	})
	k, ctx := c.Client(), t.Context()
	for _, o := range []client.Object{
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ours", Name: "pod"}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ours", Name: "settings"}},
		thing("first", nil),
	} {
		if err := k.Get(ctx, client.ObjectKeyFromObject(o), o); err != nil {
			t.Errorf("%T: %v", o, err)
		}
	}
	if err := k.Get(ctx, client.ObjectKey{Namespace: "default", Name: "left-out"}, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
		t.Errorf("an object among the CRDs: got %v, want that it is left out", err)
	}

	server := c.WebhookServer()
	server.Register("/validate", &admission.Webhook{Handler: admission.HandlerFunc(func(_ context.Context, r admission.Request) admission.Response {
		if strings.HasPrefix(r.Name, "bad") {
			return admission.Denied("it is bad")
		}
		return admission.Allowed("")
	})})
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Start(serving) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("webhook server: %v", err)
		}
	}()
	eventually(t, "the webhook answers", func() (bool, string) {
		err := k.Create(ctx, thing("good", nil))
		return err == nil, fmt.Sprint(err)
	})
	if err := k.Create(ctx, thing("bad", nil)); err == nil || !strings.Contains(err.Error(), `admission webhook "things.example.com" denied the request: it is bad`) {
		t.Errorf("a bad one: got %v", err)
	}
	key, err := os.Stat(filepath.Join(c.Webhooks().CertDir, "tls.key"))
	if err != nil || key.Mode().Perm() != 0o600 {
		t.Errorf("key: got %v, %v", key, err)
	}
}

func TestAChangedDefinitionIsInForceAtOnce(t *testing.T) {
	t.Parallel()
	c := clustertest.With(t, cluster.Config{
		CRDs:    []string{write(t, "crd.yaml", definition)},
		Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes},
	})
	k, ctx := c.Client(), t.Context()
	red := func(name string) *unstructured.Unstructured {
		return thing(name, map[string]any{"size": int64(1), "color": "red"})
	}
	before := red("before")
	if err := k.Create(ctx, before); err != nil {
		t.Fatal(err)
	}
	if _, kept, _ := unstructured.NestedString(before.Object, "spec", "color"); kept {
		t.Error("a field that the definition does not have is kept")
	}
	changed, err := manifests.Parse([]byte(strings.Replace(definition, "size: {type: integer}", "size: {type: integer, maximum: 5}, color: {type: string}", 1)))
	if err != nil {
		t.Fatal(err)
	}
	a, err := manifests.NewApplier(c.RESTConfig(), "kubectl")
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Apply(ctx, changed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new field is kept", func() (bool, string) {
		o := red("")
		o.SetName("")
		o.SetGenerateName("after-")
		if err := k.Create(ctx, o); err != nil {
			return false, err.Error()
		}
		_, kept, _ := unstructured.NestedString(o.Object, "spec", "color")
		return kept, fmt.Sprint(o.Object)
	})
	if err := k.Create(ctx, thing("large", map[string]any{"size": int64(9)})); err == nil || !strings.Contains(err.Error(), "spec.size in body should be less than or equal to 5") {
		t.Errorf("the new limit: got %v", err)
	}
}

func TestAKubeconfigReachesAClusterThatDidNotListen(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	path := c.KubeconfigFile(t)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("kubeconfig: got %v, %v", info, err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	k, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := k.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
	again, err := c.Access()
	if err != nil || again.Server != config.Host {
		t.Errorf("asked again it listens on %s, %v, want %s", again.Server, err, config.Host)
	}
	stranger := *config
	stranger.CertData, stranger.KeyData = nil, nil
	s, err := kubernetes.NewForConfig(&stranger)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.CoreV1().Namespaces().Get(t.Context(), "default", metav1.GetOptions{}); !apierrors.IsUnauthorized(err) && !apierrors.IsForbidden(err) {
		t.Errorf("without a certificate: got %v", err)
	}
	resp, err := http.Get(strings.Replace(config.Host, "https", "http", 1))
	if err == nil {
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusBadRequest {
			t.Errorf("without TLS: got %s", resp.Status)
		}
	}
}

func TestAServiceAccountHasItsOwnRightsOnly(t *testing.T) {
	t.Parallel()
	c := clustertest.With(t, cluster.Config{
		Manifests: []string{write(t, "rbac.yaml", `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: Group, name: "system:serviceaccounts:default"}]
`)},
		Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes},
	})
	k, err := client.New(c.As("system:serviceaccount:default:me"), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := k.List(t.Context(), &corev1.ConfigMapList{}, client.InNamespace("default")); err != nil {
		t.Errorf("a right of its group: %v", err)
	}
	if err := k.List(t.Context(), &corev1.SecretList{}, client.InNamespace("default")); !apierrors.IsForbidden(err) {
		t.Errorf("a right that it has not: got %v", err)
	}
}

func TestControllersLiveByTheClockThatIsGiven(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Date(2031, 5, 6, 7, 8, 30, 0, time.UTC))
	c := clustertest.With(t, cluster.Config{Clock: clock})
	k, ctx := c.Client(), t.Context()
	job := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "often"},
		Spec: batchv1.CronJobSpec{Schedule: "* * * * *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
			Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "example.com/i:v1"}}},
		}}}},
	}
	if err := k.Create(ctx, job); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a Job of the minute that the clock shows", func() (bool, string) {
		clock.Step(time.Minute)
		jobs := &batchv1.JobList{}
		if err := k.List(ctx, jobs); err != nil {
			return false, err.Error()
		}
		for _, j := range jobs.Items {
			if strings.HasPrefix(j.Annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"], "2031-05-06T") {
				return true, ""
			}
		}
		return false, fmt.Sprint(len(jobs.Items), " jobs")
	})
}

func TestAStartThatFailsSaysWhyAndLeavesNothing(t *testing.T) {
	for _, c := range []struct {
		name   string
		config cluster.Config
		want   string
	}{
		{"a manifest that is missing", cluster.Config{CRDs: []string{"missing"}}, "read manifests: stat missing"},
		{"a kind that nobody defines", cluster.Config{Objects: []client.Object{thing("first", nil)}}, `no matches for kind "Thing"`},
		{"an address that is taken", cluster.Config{Listen: "192.0.2.1:1"}, "listen for the API"},
	} {
		t.Run(c.name, func(t *testing.T) {
			temp := t.TempDir()
			t.Setenv("TMPDIR", temp)
			running, err := cluster.Start(t.Context(), c.config)
			if err == nil {
				running.Stop()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q in it", err, c.want)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left: %v, %v", left, err)
			}
		})
	}
}

// Many agents join at the same moment, each to an API server that knows nothing
// of the others.
func TestOneOfManyReservesTheAddressOfDNS(t *testing.T) {
	c, err := cluster.Start(t.Context(), cluster.Config{Without: []cluster.Room{cluster.Nodes, cluster.Controllers, cluster.Scheduler}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := cluster.EnsureDNSService(t.Context(), c); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}
