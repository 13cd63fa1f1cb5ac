package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/initializer"
	policies "k8s.io/apiserver/pkg/admission/plugin/policy/manifest/loader"
	webhooks "k8s.io/apiserver/pkg/admission/plugin/webhook/manifest/loader"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/admissionregistration"
	"github.com/skiffcluster/skiff/apiserver/expressions"
)

// manifests reads webhooks and policies from the files of a directory, which the
// configuration of their plugins names as staticManifestsDir (KEP-5793). Nobody
// can change them by the API: see [Reserve].
var manifests = sync.OnceValues(func() (*initializer.ManifestLoaders, error) {
	scheme := runtime.NewScheme()
	if err := admissionregistrationv1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("kinds of manifests: %w", err)
	}
	scheme.AddUnversionedTypes(metav1.SchemeGroupVersion, &metav1.List{}, &metav1.Status{})
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()

	validatingHooks := onlyKind(accept(admissionregistration.ValidatingWebhookConfiguration.Erase(),
		func(l *admissionregistrationv1.ValidatingWebhookConfigurationList) []admissionregistrationv1.ValidatingWebhookConfiguration {
			return l.Items
		}))
	mutatingHooks := onlyKind(accept(admissionregistration.MutatingWebhookConfiguration.Erase(),
		func(l *admissionregistrationv1.MutatingWebhookConfigurationList) []admissionregistrationv1.MutatingWebhookConfiguration {
			return l.Items
		}))
	validatingPolicies := accept(admissionregistration.ValidatingAdmissionPolicy.Erase(),
		func(l *admissionregistrationv1.ValidatingAdmissionPolicyList) []admissionregistrationv1.ValidatingAdmissionPolicy {
			return l.Items
		})
	validatingBindings := accept(admissionregistration.ValidatingAdmissionPolicyBinding.Erase(),
		func(l *admissionregistrationv1.ValidatingAdmissionPolicyBindingList) []admissionregistrationv1.ValidatingAdmissionPolicyBinding {
			return l.Items
		})
	mutatingPolicies := accept(admissionregistration.MutatingAdmissionPolicy.Erase(),
		func(l *admissionregistrationv1.MutatingAdmissionPolicyList) []admissionregistrationv1.MutatingAdmissionPolicy {
			return l.Items
		})
	mutatingBindings := accept(admissionregistration.MutatingAdmissionPolicyBinding.Erase(),
		func(l *admissionregistrationv1.MutatingAdmissionPolicyBindingList) []admissionregistrationv1.MutatingAdmissionPolicyBinding {
			return l.Items
		})
	return &initializer.ManifestLoaders{
		LoadValidatingWebhookManifests: func(dir string) ([]*admissionregistrationv1.ValidatingWebhookConfiguration, string, error) {
			return webhooks.LoadManifests(dir, decoder, validatingHooks)
		},
		LoadMutatingWebhookManifests: func(dir string) ([]*admissionregistrationv1.MutatingWebhookConfiguration, string, error) {
			return webhooks.LoadManifests(dir, decoder, mutatingHooks)
		},
		LoadValidatingPolicyManifests: func(dir string) ([]*admissionregistrationv1.ValidatingAdmissionPolicy, []*admissionregistrationv1.ValidatingAdmissionPolicyBinding, string, error) {
			return policies.LoadPolicyManifests(dir, decoder, validatingPolicies, validatingBindings,
				func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) string { return b.Spec.PolicyName })
		},
		LoadMutatingPolicyManifests: func(dir string) ([]*admissionregistrationv1.MutatingAdmissionPolicy, []*admissionregistrationv1.MutatingAdmissionPolicyBinding, string, error) {
			return policies.LoadPolicyManifests(dir, decoder, mutatingPolicies, mutatingBindings,
				func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) string { return b.Spec.PolicyName })
		},
	}, nil
})

// object is a *T that the API serves.
type object[T any] interface {
	*T
	runtime.Object
	metav1.Object
}

// accept gives the objects of a kind, or of its list, with their defaults. What
// the API would refuse is an error.
func accept[T, L any, P object[T]](k *api.Kind, items func(*L) []T) func(runtime.Object) ([]P, error) {
	expressions.Attach(k)
	return func(obj runtime.Object) ([]P, error) {
		var out []P
		switch o := any(obj).(type) {
		case P:
			out = []P{o}
		case *L:
			list := items(o)
			for i := range list {
				out = append(out, &list[i])
			}
		default:
			return nil, policies.ErrUnrecognizedType
		}
		for _, p := range out {
			k.Default(p)
			errs := validation.ValidateObjectMetaAccessor(p, false, validation.NameIsDNSSubdomain, field.NewPath("metadata"))
			if errs = append(errs, k.Validate(context.Background(), p)...); len(errs) > 0 {
				return nil, fmt.Errorf("%s %q: %w", k.GVK.Kind, p.GetName(), errs.ToAggregate())
			}
		}
		return out, nil
	}
}

// onlyKind says in the words of kube-apiserver that a directory holds another
// kind than the one that it is for.
func onlyKind[P any](accept func(runtime.Object) ([]P, error)) func(runtime.Object) ([]P, error) {
	return func(obj runtime.Object) ([]P, error) {
		out, err := accept(obj)
		if errors.Is(err, policies.ErrUnrecognizedType) {
			return nil, fmt.Errorf("unsupported resource type %T", obj)
		}
		return out, err
	}
}
