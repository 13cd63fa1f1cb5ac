package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// MutatingWebhookConfiguration names webhooks that change objects.
var MutatingWebhookConfiguration = api.Of[admissionregistrationv1.MutatingWebhookConfiguration]{
	Group: admissionregistrationv1.GroupName, Version: "v1", Kind: "MutatingWebhookConfiguration", Resource: "mutatingwebhookconfigurations",
	Categories:            []string{"api-extensions"},
	FreeFinalizers:        true,
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,
	Generation:            true,

	Default: func(c *admissionregistrationv1.MutatingWebhookConfiguration) {
		for _, w := range mutatingHooks(c) {
			w.setDefaults()
		}
		for i := range c.Webhooks {
			set(&c.Webhooks[i].ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
		}
	},
	ValidateCreate: func(c *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList {
		return checkWebhooks(mutatingHooks(c), tolerated{})
	},
	ValidateUpdate: func(c, old *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList {
		return checkWebhooks(mutatingHooks(c), faultsOf(mutatingHooks(old)))
	},

	Columns: []api.Column[admissionregistrationv1.MutatingWebhookConfiguration]{
		print.Name[admissionregistrationv1.MutatingWebhookConfiguration](),
		countColumn("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration",
			func(c *admissionregistrationv1.MutatingWebhookConfiguration) int { return len(c.Webhooks) }),
		print.Age[admissionregistrationv1.MutatingWebhookConfiguration](),
	},
}

func mutatingHooks(c *admissionregistrationv1.MutatingWebhookConfiguration) []webhook {
	hooks := make([]webhook, len(c.Webhooks))
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		hooks[i] = webhook{
			name: h.Name, client: &h.ClientConfig, rules: h.Rules, failure: &h.FailurePolicy, match: &h.MatchPolicy,
			namespaceSelector: &h.NamespaceSelector, objectSelector: &h.ObjectSelector, sideEffects: h.SideEffects,
			timeout: &h.TimeoutSeconds, versions: h.AdmissionReviewVersions, conditions: h.MatchConditions, reinvocation: h.ReinvocationPolicy,
		}
	}
	return hooks
}
