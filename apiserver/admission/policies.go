package admission

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/initializer"
	"k8s.io/apiserver/pkg/admission/plugin/policy/generic"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/client-go/dynamic"
	restclient "k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// newValidatingPolicy refuses objects by CEL expressions.
func newValidatingPolicy(c Config) (admission.Interface, error) {
	build := func(c Config) (admission.Interface, error) {
		p, err := validating.NewPlugin(c.configuration.reader("ValidatingAdmissionPolicy"))
		if err != nil {
			return nil, err
		}
		i := c.Informers.Admissionregistration().V1()
		if err := fill(c, i.ValidatingAdmissionPolicies().Informer(), i.ValidatingAdmissionPolicyBindings().Informer(), namespaceInformer(c.Informers)); err != nil {
			return nil, err
		}
		return p, startPolicies(c, p.Plugin, p)
	}
	if c.configuration.has("ValidatingAdmissionPolicy") {
		return build(c.atOnce())
	}
	return lazyValidation{newLazy(c, admissionregistrationv1.Resource("validatingadmissionpolicies"), build,
		admission.Connect, admission.Create, admission.Delete, admission.Update)}, nil
}

// newMutatingPolicy changes objects by CEL expressions.
func newMutatingPolicy(c Config) (admission.Interface, error) {
	build := func(c Config) (admission.Interface, error) {
		p, err := mutating.NewPlugin(c.configuration.reader("MutatingAdmissionPolicy"))
		if err != nil {
			return nil, err
		}
		i := c.Informers.Admissionregistration().V1()
		if err := fill(c, i.MutatingAdmissionPolicies().Informer(), i.MutatingAdmissionPolicyBindings().Informer(), namespaceInformer(c.Informers)); err != nil {
			return nil, err
		}
		p.SetEnabled(true)
		c.Client = documented{c.Client, schemas{c.Client.Discovery().RESTClient(), c.Documents}}
		return patient{p}, startPolicies(c, p.Plugin, p)
	}
	if c.configuration.has("MutatingAdmissionPolicy") {
		return build(c.atOnce())
	}
	return lazyMutation{newLazy(c, admissionregistrationv1.Resource("mutatingadmissionpolicies"), build,
		admission.Connect, admission.Create, admission.Update)}, nil
}

func startPolicies[H any](c Config, p *generic.Plugin[H], outer initializer.WantsManifestLoaders) error {
	loaders, err := manifests()
	if err != nil {
		return err
	}
	outer.SetManifestLoaders(loaders)
	// Parameters may be of kinds that come later, which this mapper looks for
	// when it does not know them.
	http, err := restclient.HTTPClientFor(c.REST)
	if err != nil {
		return fmt.Errorf("client of policies: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(c.REST, http)
	if err != nil {
		return fmt.Errorf("mapper of policies: %w", err)
	}
	objects, err := dynamic.NewForConfig(c.REST)
	if err != nil {
		return fmt.Errorf("client of parameters: %w", err)
	}
	p.SetAPIServerID(c.ServerID)
	p.SetExternalKubeInformerFactory(c.Informers)
	p.SetExternalKubeClientSet(c.Client)
	p.SetRESTMapper(mapper)
	p.SetDynamicClient(objects)
	p.SetDrainedNotification(c.Stop)
	p.SetUnconditionalAuthorizer(c.Authorizer)
	p.SetExcludedAdmissionResources(reviews)
	return p.ValidateInitialization()
}
