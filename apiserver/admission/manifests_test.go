package admission_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	restclient "k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// configured starts an API server whose plugin reads manifests of dir.
func configured(plugin, kind, dir string) cluster.Config {
	cfg := cluster.Config{Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes}}
	file := filepath.Join(filepath.Dir(dir), "admission.json")
	version := "apiserver.config.k8s.io/v1"
	text, err := json.Marshal(map[string]any{
		"apiVersion": version, "kind": "AdmissionConfiguration",
		"plugins": []any{map[string]any{"name": plugin, "configuration": map[string]any{"apiVersion": version, "kind": kind, "staticManifestsDir": dir}}},
	})
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		panic(err)
	}
	cfg.APIServer.AdmissionConfigFile = file
	return cfg
}

// directory is one with a file in it.
func directory(t *testing.T, name, text string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "manifests")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	rewrite(t, filepath.Join(dir, name), text)
	return dir
}

func rewrite(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const refusingPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: names.static.k8s.io}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [""], apiVersions: ["*"], operations: [CREATE], resources: [configmaps]}
    - {apiGroups: [admissionregistration.k8s.io], apiVersions: ["*"], operations: [CREATE], resources: ["*"]}
  validations:
  - {expression: "object.metadata.name != 'bad'", message: "not this name"}
---
apiVersion: v1
kind: List
items:
- apiVersion: admissionregistration.k8s.io/v1
  kind: ValidatingAdmissionPolicyBinding
  metadata: {name: names.static.k8s.io}
  spec: {policyName: names.static.k8s.io, validationActions: [Deny]}
`

func TestPoliciesOfManifestsAreInForceFromTheStart(t *testing.T) {
	dir := directory(t, "policy.yaml", refusingPolicy)
	server := clustertest.With(t, configured("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyConfiguration", dir))
	c := server.Client()
	refusal := "ValidatingAdmissionPolicy 'names.static.k8s.io' with binding 'names.static.k8s.io' denied request: not this name"
	if err := c.Create(t.Context(), configMap("bad")); !strings.Contains(errText(err), refusal) {
		t.Errorf("create: %v", err)
	}
	create(t, c, configMap("good"))
	own := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "bad"},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: "any", ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	if err := c.Create(t.Context(), own); !strings.Contains(errText(err), refusal) {
		t.Errorf("create an object of admission itself: %v", err)
	}
	list := &admissionregistrationv1.ValidatingAdmissionPolicyList{}
	if err := c.List(t.Context(), list); err != nil || len(list.Items) != 0 {
		t.Errorf("the API has %v, %v", list.Items, err)
	}

	rewrite(t, filepath.Join(dir, "policy.yaml"), "kind: Nothing")
	rewrite(t, filepath.Join(dir, "policy.yaml"), strings.ReplaceAll(refusingPolicy, "'bad'", "'good'"))
	eventually(t, "changed file", func() error {
		if err := c.Create(t.Context(), configMap("good"), client.DryRunAll); !strings.Contains(errText(err), refusal) {
			return wrong("the new rule is not in force: " + errText(err))
		}
		return nil
	})
	create(t, c, configMap("bad"))
	clients, err := kubernetes.NewForConfig(server.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := clients.Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	want := `apiserver_manifest_admission_config_controller_automatic_reloads_total{apiserver_id_hash="sha256:`
	if err != nil || !strings.Contains(string(raw), want) || !strings.Contains(string(raw), `plugin="ValidatingAdmissionPolicy",status="success"`) {
		t.Errorf("metrics do not tell of the reload: %v", err)
	}
}

func TestMutatingPoliciesOfManifestsChangeObjects(t *testing.T) {
	c := clustertest.With(t, configured("MutatingAdmissionPolicy", "MutatingAdmissionPolicyConfiguration", directory(t, "policy.yml", `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyList
items:
- metadata: {name: labels.static.k8s.io}
  spec:
    reinvocationPolicy: Never
    matchConstraints:
      resourceRules:
      - {apiGroups: [""], apiVersions: ["*"], operations: [CREATE], resources: [configmaps]}
    mutations:
    - patchType: ApplyConfiguration
      applyConfiguration: {expression: 'Object{metadata: Object.metadata{labels: {"applied": "yes"}}}'}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: labels.static.k8s.io}
spec: {policyName: labels.static.k8s.io}
`))).Client()
	cm := configMap("a")
	create(t, c, cm)
	if cm.Labels["applied"] != "yes" {
		t.Errorf("labels are %v", cm.Labels)
	}
}

func TestWebhooksOfManifestsAreAsked(t *testing.T) {
	refuse := func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "not here"}}
	}
	for _, tt := range []struct {
		plugin string
		object client.Object
		check  func(cm *corev1.ConfigMap, err error) bool
	}{
		{"MutatingAdmissionWebhook", &admissionregistrationv1.MutatingWebhookConfiguration{
			TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "MutatingWebhookConfiguration"},
			ObjectMeta: metav1.ObjectMeta{Name: "hooks.static.k8s.io"},
			Webhooks:   []admissionregistrationv1.MutatingWebhook{mutating("a.example.com", hook(t, label("a", "1")))},
		}, func(cm *corev1.ConfigMap, err error) bool { return err == nil && cm.Labels["a"] == "1" }},
		{"ValidatingAdmissionWebhook", &admissionregistrationv1.ValidatingWebhookConfiguration{
			TypeMeta:   metav1.TypeMeta{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingWebhookConfiguration"},
			ObjectMeta: metav1.ObjectMeta{Name: "hooks.static.k8s.io"},
			Webhooks:   []admissionregistrationv1.ValidatingWebhook{validating("a.example.com", hook(t, refuse))},
		}, func(_ *corev1.ConfigMap, err error) bool { return strings.Contains(errText(err), "not here") }},
	} {
		t.Run(tt.plugin, func(t *testing.T) {
			text, err := json.Marshal(tt.object)
			if err != nil {
				t.Fatal(err)
			}
			c := clustertest.With(t, configured(tt.plugin, "WebhookAdmissionConfiguration", directory(t, "hooks.json", string(text)))).Client()
			cm := configMap("a")
			if err := c.Create(t.Context(), cm); !tt.check(cm, err) {
				t.Errorf("got %v, %v", cm, err)
			}
		})
	}
}

func TestManifestsThatAreWrongStopTheStart(t *testing.T) {
	const binding = "ValidatingAdmissionPolicyBinding"
	for _, tt := range []struct{ name, text, want string }{
		{"a name of the API's", strings.ReplaceAll(refusingPolicy, "names.static.k8s.io", "names"), `must have a name ending with ".static.k8s.io"`},
		{"a field that there is not", strings.ReplaceAll(refusingPolicy, "validations:", "validation:"), `unknown field "spec.validation"`},
		{"an expression that does not compile", strings.ReplaceAll(refusingPolicy, "!= 'bad'", "!="), "spec.validations[0].expression: Invalid value"},
		{"a binding of no policy", refusingPolicy[strings.Index(refusingPolicy, "---"):], "does not exist in the manifest directory"},
		{"another kind", "apiVersion: admissionregistration.k8s.io/v1\nkind: MutatingAdmissionPolicyBinding\nmetadata: {name: a.static.k8s.io}", "unsupported resource type *v1.Mutating" + binding[len("Validating"):]},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := directory(t, "a.yaml", tt.text)
			c, err := cluster.Start(t.Context(), configured("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyConfiguration", dir))
			if err == nil {
				c.Stop()
			}
			if !strings.Contains(errText(err), tt.want) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func TestNamesOfManifestsAreNotTaken(t *testing.T) {
	c := clustertest.APIServer(t).Client()
	for _, obj := range []client.Object{
		&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{},
		&admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{},
		&admissionregistrationv1.ValidatingWebhookConfiguration{}, &admissionregistrationv1.MutatingWebhookConfiguration{},
	} {
		obj.SetName("a.static.k8s.io")
		err := c.Create(t.Context(), obj)
		want := `metadata.name: Invalid value: "a.static.k8s.io": names ending with ".static.k8s.io" are reserved for static manifest-based configurations and cannot be managed via the API`
		if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), want) {
			t.Errorf("%T: %v", obj, err)
		}
	}
}

// said keeps warnings.
type said struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader implements restclient.WarningHandler.
func (s *said) HandleWarningHeader(_ int, _, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, text)
}

func TestRulesForReviewsWarnThatTheyHaveNoEffect(t *testing.T) {
	config := restclient.CopyConfig(clustertest.APIServer(t).RESTConfig())
	heard := &said{}
	config.WarningHandler = heard
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	rules := func(groups, resources []string) admissionregistrationv1.RuleWithOperations {
		return admissionregistrationv1.RuleWithOperations{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule:       admissionregistrationv1.Rule{APIGroups: groups, APIVersions: []string{"v1"}, Resources: resources},
		}
	}
	w := validating("a.example.com", hook(t, allow))
	w.Rules = []admissionregistrationv1.RuleWithOperations{
		rules([]string{"", "authorization.k8s.io"}, []string{"pods", "subjectaccessreviews", "subjectaccessreviews"}),
		rules([]string{"*"}, []string{"tokenreviews"}),
	}
	_, err = clients.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(t.Context(), &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "a"}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	heard.mu.Lock()
	defer heard.mu.Unlock()
	want := []string{"webhooks[0].rules[0]: subjectaccessreviews.authorization.k8s.io is excluded from admission webhooks; this rule will have no effect"}
	if !slices.Equal(heard.all, want) {
		t.Errorf("warnings are %q", heard.all)
	}
}
