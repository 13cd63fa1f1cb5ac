package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/admission/plugin/manifest"
	"k8s.io/apiserver/pkg/features"
	utilfeature "k8s.io/apiserver/pkg/util/feature"

	"github.com/skiffcluster/skiff/api"
)

// Reserve keeps the names of what comes from manifests free of objects of the
// API, for a kind of admission, and lets webhooks be warned of rules that have no
// effect. It leaves other kinds alone.
func Reserve(k *api.Kind) {
	if k.GVK.Group != admissionregistrationv1.GroupName {
		return
	}
	static := utilfeature.DefaultFeatureGate.Enabled(features.ManifestBasedAdmissionControlConfig)
	excluded := utilfeature.DefaultFeatureGate.Enabled(features.ExcludeAdmissionWebhookVirtualResources)
	validate, warnings := k.Validate, k.Warnings
	k.Validate = func(ctx context.Context, obj runtime.Object) field.ErrorList {
		errs := validate(ctx, obj)
		if m, ok := obj.(metav1.Object); ok && static && m.GetResourceVersion() == "" && strings.HasSuffix(m.GetName(), manifest.StaticConfigSuffix) {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), m.GetName(), reserved))
		}
		return errs
	}
	k.Warnings = func(ctx context.Context, obj, old runtime.Object) []string {
		out := warnings(ctx, obj, old)
		if m, ok := obj.(metav1.Object); ok && (old != nil || !static) && strings.HasSuffix(m.GetName(), manifest.StaticConfigSuffix) {
			out = append(out, "metadata.name: "+reserved)
		}
		if excluded {
			out = append(out, withoutEffect(obj)...)
		}
		return out
	}
}

var reserved = fmt.Sprintf("names ending with %q are reserved for static manifest-based configurations and cannot be managed via the API", manifest.StaticConfigSuffix)

// withoutEffect warns of a webhook's rules for what webhooks are not sent.
func withoutEffect(obj runtime.Object) []string {
	var rules [][]admissionregistrationv1.RuleWithOperations
	switch c := obj.(type) {
	case *admissionregistrationv1.ValidatingWebhookConfiguration:
		for _, w := range c.Webhooks {
			rules = append(rules, w.Rules)
		}
	case *admissionregistrationv1.MutatingWebhookConfiguration:
		for _, w := range c.Webhooks {
			rules = append(rules, w.Rules)
		}
	}
	var out []string
	for i, list := range rules {
		for j, rule := range list {
			at := field.NewPath("webhooks").Index(i).Child("rules").Index(j)
			for _, gr := range neverSent(rule.Rule) {
				out = append(out, fmt.Sprintf("%s: %s is excluded from admission webhooks; this rule will have no effect", at, gr))
			}
		}
	}
	return out
}

// neverSent are the reviews that a rule names. One with a wildcard may well mean
// others.
func neverSent(r admissionregistrationv1.Rule) []schema.GroupResource {
	if slices.Contains(r.APIGroups, "*") || slices.Contains(r.Resources, "*") {
		return nil
	}
	var out []schema.GroupResource
	for _, group := range r.APIGroups {
		for _, resource := range r.Resources {
			gr := schema.GroupResource{Group: group, Resource: resource}
			if slices.Contains(reviews, gr) && !slices.Contains(out, gr) {
				out = append(out, gr)
			}
		}
	}
	return out
}
