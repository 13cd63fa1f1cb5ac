package admission

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/generic"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/validating"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/tools/cache"

	"github.com/skiffcluster/skiff/apiserver/answers"
)

// reviews are not stored: policies must not keep the cluster from answering
// them.
var reviews = []schema.GroupResource{
	{Group: "authentication.k8s.io", Resource: "selfsubjectreviews"},
	{Group: "authentication.k8s.io", Resource: "tokenreviews"},
	{Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"},
	{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"},
	{Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"},
	{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"},
}

// newMutatingWebhook calls webhooks that change objects.
func newMutatingWebhook(c Config) (admission.Interface, error) {
	build := func(c Config) (admission.Interface, error) {
		p, err := mutating.NewMutatingWebhook(c.configuration.reader("MutatingAdmissionWebhook"))
		if err != nil {
			return nil, err
		}
		return p, startWebhook(c, p.Webhook, p, c.Informers.Admissionregistration().V1().MutatingWebhookConfigurations().Informer())
	}
	if c.configuration.has("MutatingAdmissionWebhook") {
		return build(c.atOnce())
	}
	return lazyMutation{newLazy(c, admissionregistrationv1.Resource("mutatingwebhookconfigurations"), build,
		admission.Connect, admission.Create, admission.Delete, admission.Update)}, nil
}

// newValidatingWebhook calls webhooks that accept or refuse objects.
func newValidatingWebhook(c Config) (admission.Interface, error) {
	build := func(c Config) (admission.Interface, error) {
		p, err := validating.NewValidatingAdmissionWebhook(c.configuration.reader("ValidatingAdmissionWebhook"))
		if err != nil {
			return nil, err
		}
		return p, startWebhook(c, p.Webhook, p, c.Informers.Admissionregistration().V1().ValidatingWebhookConfigurations().Informer())
	}
	if c.configuration.has("ValidatingAdmissionWebhook") {
		return build(c.atOnce())
	}
	return lazyValidation{newLazy(c, admissionregistrationv1.Resource("validatingwebhookconfigurations"), build,
		admission.Connect, admission.Create, admission.Delete, admission.Update)}, nil
}

func startWebhook(c Config, w *generic.Webhook, outer initializer.WantsManifestLoaders, configurations cache.SharedIndexInformer) error {
	loaders, err := manifests()
	if err != nil {
		return err
	}
	outer.SetManifestLoaders(loaders)
	w.SetAPIServerID(c.ServerID)
	if err := fill(c, configurations, namespaceInformer(c.Informers)); err != nil {
		return err
	}
	w.SetServiceResolver(c.Services)
	w.SetAuthenticationInfoResolverWrapper(func(r webhook.AuthenticationInfoResolver) webhook.AuthenticationInfoResolver {
		return answers.Limit(r, c.Dial)
	})
	w.SetDrainedNotification(c.Stop)
	w.SetExcludedAdmissionResources(reviews)
	w.InspectFeatureGates(utilfeature.DefaultFeatureGate)
	w.SetExternalKubeClientSet(c.Client)
	w.SetExternalKubeInformerFactory(c.Informers)
	w.SetUnconditionalAuthorizer(c.Authorizer)
	if err := w.ValidateInitialization(); err != nil {
		return err
	}
	return delivered(c, configurations)
}
