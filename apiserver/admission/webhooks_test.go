package admission_test

import (
	"encoding/json"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// patience is how long a test waits for what happens at once on an idle
// machine.
const patience = 30 * time.Second

// hook serves a webhook on this machine and says where it is.
func hook(t *testing.T, answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) admissionregistrationv1.WebhookClientConfig {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		review := &admissionv1.AdmissionReview{}
		if err == nil {
			err = json.Unmarshal(body, review)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = answer(review.Request)
		if review.Response.UID == "" {
			review.Response.UID = review.Request.UID
		}
		review.Request = nil
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(review); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	return admissionregistrationv1.WebhookClientConfig{URL: ptr.To(s.URL + "/"), CABundle: ca}
}

// configMaps are the requests that the tests' rules are about.
func configMaps(ops ...admissionregistrationv1.OperationType) []admissionregistrationv1.RuleWithOperations {
	return []admissionregistrationv1.RuleWithOperations{{
		Operations: ops,
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}
}

func mutating(name string, c admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.MutatingWebhook {
	return admissionregistrationv1.MutatingWebhook{
		Name: name, ClientConfig: c, Rules: configMaps(admissionregistrationv1.Create),
		SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
}

func validating(name string, c admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.ValidatingWebhook {
	return admissionregistrationv1.ValidatingWebhook{
		Name: name, ClientConfig: c, Rules: configMaps(admissionregistrationv1.Create, admissionregistrationv1.Delete),
		SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
	}
}

func allow(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return &admissionv1.AdmissionResponse{Allowed: true}
}

// label gives a response that sets a label, and one of labels where there are
// none.
func label(key, value string) func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
	return func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		cm := &corev1.ConfigMap{}
		if err := json.Unmarshal(r.Object.Raw, cm); err != nil {
			return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: err.Error()}}
		}
		patch := `{"op":"add","path":"/metadata/labels/` + key + `","value":"` + value + `"}`
		if cm.Labels == nil {
			patch = `{"op":"add","path":"/metadata/labels","value":{}},` + patch
		}
		return &admissionv1.AdmissionResponse{
			Allowed: true, PatchType: ptr.To(admissionv1.PatchTypeJSONPatch), Patch: []byte("[" + patch + "]"),
		}
	}
}

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
}

// create fails the test unless the object is stored.
func create(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %T %s: %v", obj, obj.GetName(), err)
	}
}

// eventually tries until f is content.
func eventually(t *testing.T, what string, f func() error) {
	t.Helper()
	end := time.Now().Add(patience)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

type wrong string

func (w wrong) Error() string { return string(w) }

func TestMutatingWebhooksSeeEachOthersChanges(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	first := mutating("first.example.com", hook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if !strings.Contains(string(r.Object.Raw), `"second"`) {
			return label("first", "alone")(r)
		}
		return label("first", "again")(r)
	}))
	first.ReinvocationPolicy = ptr.To(admissionregistrationv1.IfNeededReinvocationPolicy)
	second := mutating("second.example.com", hook(t, label("second", "yes")))
	create(t, c, &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "labels"}, Webhooks: []admissionregistrationv1.MutatingWebhook{first, second},
	})
	n := 0
	eventually(t, "webhooks in force", func() error {
		n++
		cm := configMap("")
		cm.GenerateName = "a-"
		if err := c.Create(t.Context(), cm); err != nil {
			return err
		}
		if cm.Labels["first"] != "again" || cm.Labels["second"] != "yes" {
			return wrong("labels are not those of both webhooks")
		}
		return nil
	})
	t.Logf("in force after %d tries", n)
}

func TestValidatingWebhooksRefuse(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	w := validating("names.example.com", hook(t, func(r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{
			Allowed: r.Name != "bad" && !strings.HasPrefix(r.Name, "try"), Result: &metav1.Status{Message: "bad name"}, Warnings: []string{"careful"},
		}
	}))
	w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "not-exempt", Expression: "object == null || !has(object.data) || !('exempt' in object.data)"}}
	create(t, c, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "names"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w},
	})
	refused(t, c)
	err := c.Create(t.Context(), configMap("bad"))
	if !apierrors.IsForbidden(err) && !strings.Contains(errText(err), `admission webhook "names.example.com" denied the request: bad name`) {
		t.Errorf("create: %v", err)
	}
	create(t, c, configMap("good"))
	exempt := configMap("bad")
	exempt.Data = map[string]string{"exempt": "yes"}
	create(t, c, exempt)
	if err := c.Delete(t.Context(), exempt); !strings.Contains(errText(err), "bad name") {
		t.Errorf("delete: %v", err)
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// refused waits until a ConfigMap is not accepted any more.
func refused(t *testing.T, c client.Client) {
	t.Helper()
	eventually(t, "refusal", func() error {
		cm := configMap("")
		cm.GenerateName = "try-"
		if c.Create(t.Context(), cm, client.DryRunAll) == nil {
			return wrong("still accepted")
		}
		return nil
	})
}

func TestFailurePolicyDecidesWhereAWebhookDoesNotAnswer(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	gone := admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://127.0.0.1:1/")}
	w := validating("gone.example.com", gone)
	config := &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "gone"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w},
	}
	create(t, c, config)
	refused(t, c)
	if err := c.Create(t.Context(), configMap("a")); !strings.Contains(errText(err), `failed calling webhook "gone.example.com": failed to call webhook`) {
		t.Errorf("create: %v", err)
	}
	config.Webhooks[0].FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	if err := c.Update(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	eventually(t, "ignored webhook", func() error { return c.Create(t.Context(), configMap("a")) })
}

func TestAWebhookThatLiesIsAFailure(t *testing.T) {
	for name, answer := range map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{
		"another request's answer": func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{UID: "other", Allowed: true}
		},
		"a patch that is none": func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: true, PatchType: ptr.To(admissionv1.PatchTypeJSONPatch), Patch: []byte("{")}
		},
		"a patch that makes garbage": func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{
				Allowed: true, PatchType: ptr.To(admissionv1.PatchTypeJSONPatch), Patch: []byte(`[{"op":"replace","path":"/metadata","value":7}]`),
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := clustertest.APIServer(t).Client()
			create(t, c, &admissionregistrationv1.MutatingWebhookConfiguration{
				ObjectMeta: metav1.ObjectMeta{Name: "liar"},
				Webhooks:   []admissionregistrationv1.MutatingWebhook{mutating("liar.example.com", hook(t, answer))},
			})
			refused(t, c)
		})
	}
}

func TestWebhookConfigurationsOutliveTheServer(t *testing.T) {
	dir := t.TempDir()
	w := validating("no.example.com", hook(t, func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "no"}}
	}))
	first := server(t, dir)
	create(t, first.Client(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "no"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w},
	})
	first.Stop()
	// The very first request of the new server is checked already.
	if err := server(t, dir).Client().Create(t.Context(), configMap("a")); !strings.Contains(errText(err), "denied the request: no") {
		t.Errorf("create: %v", err)
	}
}

func TestExpressionsThatDoNotCompileAreRefused(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	w := validating("a.example.com", hook(t, allow))
	w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "a", Expression: "object.metadata.name ="}}
	err := c.Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "a"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w},
	})
	if !strings.Contains(errText(err), `webhooks[0].matchConditions[0].expression: Invalid value: "object.metadata.name =": compilation failed`) {
		t.Errorf("create: %v", err)
	}
}
