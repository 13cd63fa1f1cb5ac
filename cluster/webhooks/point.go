package webhooks

import (
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/webhook/conversion"
)

// ConversionPath is where controller-runtime's webhook server converts.
const ConversionPath = "/convert"

// Target is a server that answers webhooks.
type Target struct {
	Host string
	Port int
	CA   []byte // PEM, signs the server's certificate
}

// URL is where path is served.
func (t Target) URL(path string) string {
	return "https://" + net.JoinHostPort(t.Host, strconv.Itoa(t.Port)) + "/" + strings.TrimPrefix(path, "/")
}

// Point changes the webhook configurations, and the definitions that convert by
// a webhook, among objs: what they ask of a service is asked of the target. A
// webhook that has a URL already keeps it. It gives the names of what changed.
func Point(objs []*unstructured.Unstructured, t Target) ([]string, error) {
	return eachClient(objs, func(config map[string]any) bool {
		service, ok := config["service"].(map[string]any)
		if !ok {
			return false
		}
		path, _ := service["path"].(string) // none: the root, as the API says
		delete(config, "service")
		config["url"], config["caBundle"] = t.URL(path), base64.StdEncoding.EncodeToString(t.CA)
		return true
	})
}

// eachClient calls change with every webhook's clientConfig among objs and
// gives the names of the objects that it changed.
func eachClient(objs []*unstructured.Unstructured, change func(map[string]any) bool) ([]string, error) {
	var changed []string
	for _, o := range objs {
		hooks, err := hooksOf(o)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
		touched := false
		for _, hook := range hooks {
			if config, ok := hook["clientConfig"].(map[string]any); ok && change(config) {
				touched = true
			}
		}
		if touched {
			if err := annotate(o, hooks); err != nil {
				return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
			}
			changed = append(changed, nameOf(o))
		}
	}
	return changed, nil
}

// nameOf is how an object is told of.
func nameOf(o *unstructured.Unstructured) string { return o.GetKind() + " " + o.GetName() }

// hooksOf gives the webhooks of an object, which share its memory.
func hooksOf(o *unstructured.Unstructured) ([]map[string]any, error) {
	switch o.GroupVersionKind().GroupKind() {
	case schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"},
		schema.GroupKind{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:
		list, _, err := unstructured.NestedFieldNoCopy(o.Object, "webhooks")
		if err != nil {
			return nil, err
		}
		var out []map[string]any
		items, _ := list.([]any)
		for _, item := range items {
			if hook, ok := item.(map[string]any); ok {
				out = append(out, hook)
			}
		}
		return out, nil
	case definition:
		field, found, err := unstructured.NestedFieldNoCopy(o.Object, "spec", "conversion", "webhook")
		hook, ok := field.(map[string]any)
		if err != nil || !found || !ok {
			return nil, err
		}
		return []map[string]any{hook}, nil
	default:
		return nil, nil
	}
}

var definition = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}

// Convert has the definitions among objs whose Go types convert, by
// controller-runtime's Hub and Convertible, convert at the target. controller-gen
// leaves that to a patch of kustomize's.
func Convert(objs []*unstructured.Unstructured, scheme *runtime.Scheme, t Target) error {
	for _, o := range objs {
		if o.GroupVersionKind().GroupKind() != definition {
			continue
		}
		if _, found, _ := unstructured.NestedMap(o.Object, "spec", "conversion"); found || !converts(o, scheme) {
			continue
		}
		err := unstructured.SetNestedMap(o.Object, map[string]any{
			"strategy": "Webhook",
			"webhook": map[string]any{
				"conversionReviewVersions": []any{"v1"},
				"clientConfig":             map[string]any{"url": t.URL(ConversionPath), "caBundle": base64.StdEncoding.EncodeToString(t.CA)},
			},
		}, "spec", "conversion")
		if err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
	return nil
}

// converts says whether the scheme has Go types of a definition that convert.
func converts(crd *unstructured.Unstructured, scheme *runtime.Scheme) bool {
	group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
	kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
	for _, gv := range scheme.VersionsForGroupKind(schema.GroupKind{Group: group, Kind: kind}) {
		obj, err := scheme.New(gv.WithKind(kind))
		if err != nil {
			continue
		}
		// An error is a type that converts in part; the API server would say
		// no more than that some version can't be had.
		ok, err := conversion.IsConvertible(scheme, obj)
		return ok && err == nil
	}
	return false
}
