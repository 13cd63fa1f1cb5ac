package webhooks

import (
	"encoding/json"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// annotate lets the servers of an object's webhooks stay as they are, until the
// next `kubectl apply`. cert-manager would write another caBundle, and kubectl
// removes only what its annotation says was applied before: without a url there
// it would leave ours beside the service that it writes.
func annotate(o *unstructured.Unstructured, hooks []map[string]any) error {
	var servers []any
	for _, hook := range hooks {
		config, _ := hook["clientConfig"].(map[string]any)
		if config["service"] != nil {
			config = map[string]any{"service": config["service"]} // a caBundle stays, as one that is injected
		}
		servers = append(servers, map[string]any{"name": hook["name"], "clientConfig": config})
	}
	applied := map[string]any{
		"apiVersion": o.GetAPIVersion(), "kind": o.GetKind(), "metadata": map[string]any{"name": o.GetName()},
		"webhooks": servers,
	}
	if o.GroupVersionKind().GroupKind() == definition {
		delete(applied, "webhooks")
		webhook := map[string]any{"clientConfig": servers[0].(map[string]any)["clientConfig"]}
		applied["spec"] = map[string]any{"conversion": map[string]any{"webhook": webhook}}
	}
	raw, err := json.Marshal(applied)
	if err != nil {
		return err
	}
	annotations := o.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	maps.DeleteFunc(annotations, func(key, _ string) bool { return Injection(key) })
	annotations[corev1.LastAppliedConfigAnnotation] = string(raw) + "\n"
	o.SetAnnotations(annotations)
	return nil
}
