package admissionregistration

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// ValidatingWebhookConfiguration names webhooks that accept or refuse objects.
var ValidatingWebhookConfiguration = api.Of[admissionregistrationv1.ValidatingWebhookConfiguration]{
	Group: admissionregistrationv1.GroupName, Version: "v1", Kind: "ValidatingWebhookConfiguration", Resource: "validatingwebhookconfigurations",
	Categories:            []string{"api-extensions"},
	FreeFinalizers:        true,
	NoUnconditionalUpdate: true,
	ClusterScoped:         true,
	Generation:            true,

	Default: func(c *admissionregistrationv1.ValidatingWebhookConfiguration) {
		for _, w := range validatingHooks(c) {
			w.setDefaults()
		}
	},
	ValidateCreate: func(c *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList {
		return checkWebhooks(validatingHooks(c), tolerated{})
	},
	ValidateUpdate: func(c, old *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList {
		return checkWebhooks(validatingHooks(c), faultsOf(validatingHooks(old)))
	},

	Columns: []api.Column[admissionregistrationv1.ValidatingWebhookConfiguration]{
		print.Name[admissionregistrationv1.ValidatingWebhookConfiguration](),
		countColumn("Webhooks", "Webhooks indicates the number of webhooks registered in this configuration",
			func(c *admissionregistrationv1.ValidatingWebhookConfiguration) int { return len(c.Webhooks) }),
		print.Age[admissionregistrationv1.ValidatingWebhookConfiguration](),
	},
}

func validatingHooks(c *admissionregistrationv1.ValidatingWebhookConfiguration) []webhook {
	hooks := make([]webhook, len(c.Webhooks))
	for i := range c.Webhooks {
		h := &c.Webhooks[i]
		hooks[i] = webhook{
			name: h.Name, client: &h.ClientConfig, rules: h.Rules, failure: &h.FailurePolicy, match: &h.MatchPolicy,
			namespaceSelector: &h.NamespaceSelector, objectSelector: &h.ObjectSelector, sideEffects: h.SideEffects,
			timeout: &h.TimeoutSeconds, versions: h.AdmissionReviewVersions, conditions: h.MatchConditions,
		}
	}
	return hooks
}
