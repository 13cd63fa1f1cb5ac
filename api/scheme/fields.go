package scheme

import (
	"fmt"
	"maps"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiffcluster/skiff/api"
)

// otherLabels are names of fields that are selected by under other names, by
// kind.
var otherLabels = map[schema.GroupVersionKind]map[string]string{
	// Old clients ask for the pods of a host.
	corev1.SchemeGroupVersion.WithKind("Pod"): {"spec.host": "spec.nodeName"},
	// This group has other names for the same fields.
	eventsv1.SchemeGroupVersion.WithKind("Event"): {
		"reason":                    "reason",
		"regarding.kind":            "involvedObject.kind",
		"regarding.namespace":       "involvedObject.namespace",
		"regarding.name":            "involvedObject.name",
		"regarding.uid":             "involvedObject.uid",
		"regarding.apiVersion":      "involvedObject.apiVersion",
		"regarding.resourceVersion": "involvedObject.resourceVersion",
		"regarding.fieldPath":       "involvedObject.fieldPath",
		"reportingController":       "reportingComponent",
		"type":                      "type",
	},
}

// addFieldLabels lets lists and watches select by the kind's fields. A kind
// without any keeps the library's function, which knows name and namespace.
func addFieldLabels(s *runtime.Scheme, k *api.Kind) error {
	fields := k.Fields(k.New())
	if len(fields) == 0 {
		return nil
	}
	known := map[string]string{"metadata.name": "metadata.name"}
	if k.Namespaced {
		known["metadata.namespace"] = "metadata.namespace"
	}
	if k.GVK.Group != eventsv1.GroupName { // which knows only its own names
		for label := range fields {
			known[label] = label
		}
	}
	maps.Copy(known, otherLabels[k.GVK])
	return s.AddFieldLabelConversionFunc(k.GVK, func(label, value string) (string, string, error) {
		if means, ok := known[label]; ok {
			return means, value, nil
		}
		return "", "", unknownLabel(k.GVK, label)
	})
}

// unknownLabel is the error for a field that a kind is not selected by.
func unknownLabel(kind schema.GroupVersionKind, label string) error {
	switch kind.GroupKind() {
	case schema.GroupKind{Group: batchv1.GroupName, Kind: "Job"}:
		return fmt.Errorf("field label %q not supported for Job", label)
	case schema.GroupKind{Group: resourcev1.GroupName, Kind: "ResourceSlice"}:
		return fmt.Errorf("field label not supported for %s: %s", kind, label)
	}
	return fmt.Errorf("field label not supported: %s", label)
}
