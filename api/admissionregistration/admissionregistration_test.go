package admissionregistration_test

import (
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/admissionregistration"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func rule(resources ...string) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: resources},
	}
}

func TestWebhooks(t *testing.T) {
	good := admissionregistrationv1.ValidatingWebhook{
		Name: "a.example.com", ClientConfig: admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://example.com/a")},
		Rules: []admissionregistrationv1.RuleWithOperations{rule("pods")}, SideEffects: ptr.To(admissionregistrationv1.SideEffectClassNone),
		AdmissionReviewVersions: []string{"v1"},
	}
	for _, c := range []struct {
		name   string
		change func(*admissionregistrationv1.ValidatingWebhook)
		want   []string
	}{
		{"a good one", func(*admissionregistrationv1.ValidatingWebhook) {}, nil},
		{"a name of one part", func(w *admissionregistrationv1.ValidatingWebhook) { w.Name = "a" },
			[]string{`webhooks[0].name: Invalid value: "a": should be a domain with at least three segments separated by dots`}},
		{"no side effects said", func(w *admissionregistrationv1.ValidatingWebhook) { w.SideEffects = nil },
			[]string{"webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun"}},
		{"side effects", func(w *admissionregistrationv1.ValidatingWebhook) {
			w.SideEffects = ptr.To(admissionregistrationv1.SideEffectClassSome)
		}, []string{`webhooks[0].sideEffects: Unsupported value: "Some": supported values: "None", "NoneOnDryRun"`}},
		{"both ways to reach it", func(w *admissionregistrationv1.ValidatingWebhook) {
			w.ClientConfig.Service = &admissionregistrationv1.ServiceReference{Name: "a", Namespace: "a"}
		}, []string{"webhooks[0].clientConfig: Required value: exactly one of url or service is required"}},
		{"plain HTTP", func(w *admissionregistrationv1.ValidatingWebhook) { w.ClientConfig.URL = ptr.To("http://a") },
			[]string{`webhooks[0].clientConfig.url: Invalid value: "http": 'https' is the only allowed URL scheme; desired format: https://host[/path]`}},
		{"a long timeout", func(w *admissionregistrationv1.ValidatingWebhook) { w.TimeoutSeconds = ptr.To[int32](31) },
			[]string{"webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds"}},
		{"resources that cover each other", func(w *admissionregistrationv1.ValidatingWebhook) {
			w.Rules = []admissionregistrationv1.RuleWithOperations{rule("*/*", "pods"), rule("pods/*", "pods/log")}
		}, []string{
			`webhooks[0].rules[0].resources: Invalid value: ["*/*","pods"]: if '*/*' is present, must not specify other resources`,
			`webhooks[0].rules[1].resources[1]: Invalid value: "pods/log": if 'pods/*' is present, must not specify pods/log`,
		}},
		{"versions that nobody speaks", func(w *admissionregistrationv1.ValidatingWebhook) { w.AdmissionReviewVersions = []string{"v2"} },
			[]string{`webhooks[0].admissionReviewVersions: Invalid value: ["v2"]: must include at least one of v1, v1beta1`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := *good.DeepCopy()
			c.change(&w)
			obj := &admissionregistrationv1.ValidatingWebhookConfiguration{Webhooks: []admissionregistrationv1.ValidatingWebhook{w}}
			admissionregistration.ValidatingWebhookConfiguration.Default(obj)
			kindtest.Errors(t, admissionregistration.ValidatingWebhookConfiguration.ValidateCreate(obj), c.want...)
		})
	}
	t.Run("an update may keep an old fault", func(t *testing.T) {
		w := *good.DeepCopy()
		w.SideEffects = ptr.To(admissionregistrationv1.SideEffectClassSome)
		obj := &admissionregistrationv1.ValidatingWebhookConfiguration{Webhooks: []admissionregistrationv1.ValidatingWebhook{w}}
		kindtest.Errors(t, admissionregistration.ValidatingWebhookConfiguration.ValidateUpdate(obj, obj.DeepCopy()))
	})
	t.Run("two of one name", func(t *testing.T) {
		obj := &admissionregistrationv1.ValidatingWebhookConfiguration{Webhooks: []admissionregistrationv1.ValidatingWebhook{good, good}}
		kindtest.Errors(t, admissionregistration.ValidatingWebhookConfiguration.ValidateCreate(obj), `webhooks[1].name: Duplicate value: "a.example.com"`)
	})
}

func TestPolicies(t *testing.T) {
	empty := &admissionregistrationv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	kindtest.Errors(t, admissionregistration.MutatingAdmissionPolicy.Validate(empty),
		"spec.failurePolicy: Required value", "spec.matchConstraints: Required value",
		"spec.mutations: Required value: mutations must contain at least one item", "spec.reinvocationPolicy: Required value")

	none := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	admissionregistration.ValidatingAdmissionPolicy.Default(none)
	kindtest.Errors(t, admissionregistration.ValidatingAdmissionPolicy.Validate(none), "spec.matchConstraints: Required value",
		"spec.validations: Required value: validations or auditAnnotations must contain at least one item",
		"spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item")

	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
		ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny, admissionregistrationv1.Warn},
		ParamRef:          &admissionregistrationv1.ParamRef{Name: "a", Namespace: "b"},
	}}
	admissionregistration.ValidatingAdmissionPolicyBinding.Default(binding)
	kindtest.Errors(t, admissionregistration.ValidatingAdmissionPolicyBinding.Validate(binding), "spec.policyName: Required value",
		"spec.paramRef.parameterNotFoundAction: Required value",
		`spec.validationActions: Invalid value: ["Deny","Warn"]: must not contain both Deny and Warn`)
	if cell := admissionregistration.ValidatingAdmissionPolicyBinding.Erase().Cells(binding)[2]; cell != "b/a" {
		t.Errorf("parameters are shown as %v", cell)
	}
}
