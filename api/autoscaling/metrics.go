package autoscaling

import (
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

// source is one of the places where a metric comes from: what it names, and
// what is aimed at.
type source struct {
	field     string
	object    *autoscalingv2.CrossVersionObjectReference
	metric    *autoscalingv2.MetricIdentifier
	resource  *corev1.ResourceName
	container *string
	target    *autoscalingv2.MetricTarget
}

// aim is what the target of a source must have: one of the fields, or not
// both.
type aim struct {
	fields    []string
	missingAt string
	missing   string
	bothAt    string
	both      string
}

var (
	ofResource = aim{
		[]string{"averageUtilization", "averageValue"}, "averageUtilization", "must set either a target raw value or a target utilization",
		"averageValue", "may not set both a target raw value and a target utilization",
	}
	aims = map[string]aim{
		"object":            {fields: []string{"value", "averageValue"}, missingAt: "averageValue", missing: "must set either a target value or averageValue"},
		"pods":              {fields: []string{"averageValue"}, missingAt: "averageValue", missing: "must specify a positive target averageValue"},
		"resource":          ofResource,
		"containerResource": ofResource,
		"external": {
			[]string{"value", "averageValue"}, "averageValue", "must set either a target value for metric or a per-pod target",
			"value", "may not set both a target value for metric and a per-pod target",
		},
	}
)

// sources are those that a metric has, in the order that faults are told in.
func sources(m *autoscalingv2.MetricSpec) []source {
	var out []source
	if s := m.Object; s != nil {
		out = append(out, source{field: "object", object: &s.DescribedObject, metric: &s.Metric, target: &s.Target})
	}
	if s := m.External; s != nil {
		out = append(out, source{field: "external", metric: &s.Metric, target: &s.Target})
	}
	if s := m.Pods; s != nil {
		out = append(out, source{field: "pods", metric: &s.Metric, target: &s.Target})
	}
	if s := m.Resource; s != nil {
		out = append(out, source{field: "resource", resource: &s.Name, target: &s.Target})
	}
	if s := m.ContainerResource; s != nil {
		out = append(out, source{field: "containerResource", container: &s.Container, resource: &s.Name, target: &s.Target})
	}
	return out
}

func checkMetric(e *validate.Errors, m *autoscalingv2.MetricSpec, fld *field.Path) {
	if m.Type == "" {
		e.Required(fld.Child("type"), "must specify a metric source type")
	}
	validate.Enum(e, fld.Child("type"), m.Type, autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
		autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)
	there := sources(m)
	if len(there) > 0 {
		checkSource(e, &there[0], fld.Child(there[0].field))
	}
	// The field of a type is the type in lower case: containerResource.
	expected, found := "", false
	if m.Type != "" {
		expected = strings.ToLower(string(m.Type[:1])) + string(m.Type[1:])
	}
	for _, s := range there {
		found = found || s.field == expected
	}
	if _, known := aims[expected]; known && !found {
		e.Required(fld.Child(expected), "must populate information for the given metric source")
	}
	for _, s := range there {
		if s.field != expected && len(there) > 1 {
			e.Forbidden(fld.Child(s.field), "must populate the given metric source only")
		}
	}
}

func checkSource(e *validate.Errors, s *source, fld *field.Path) {
	if s.object != nil {
		checkReference(e, *s.object, fld.Child("describedObject"))
	}
	if s.metric != nil {
		checkSegment(e, s.metric.Name, "must specify a metric name", fld.Child("metric", "name"))
	}
	switch {
	case s.resource != nil && *s.resource == "":
		e.Required(fld.Child("name"), "must specify a resource name")
	case s.container != nil:
		e.ContainerResourceName(fld.Child("name"), *s.resource)
	}
	if s.container != nil && *s.container == "" {
		e.Required(fld.Child("container"), "must specify a container")
	} else if s.container != nil {
		e.DNSLabel(fld.Child("container"), *s.container)
	}
	checkTarget(e, s.target, aims[s.field], fld.Child("target"))
}

func checkTarget(e *validate.Errors, t *autoscalingv2.MetricTarget, a aim, fld *field.Path) {
	if t.Type == "" {
		e.Required(fld.Child("type"), "must specify a metric target type")
	}
	if !known[t.Type] {
		e.Invalid(fld.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	set := map[string]bool{"value": t.Value != nil, "averageValue": t.AverageValue != nil, "averageUtilization": t.AverageUtilization != nil}
	if set["value"] && t.Value.Sign() != 1 {
		e.Invalid(fld.Child("value"), t.Value, "must be positive")
	}
	if set["averageValue"] && t.AverageValue.Sign() != 1 {
		e.Invalid(fld.Child("averageValue"), t.AverageValue, "must be positive")
	}
	if set["averageUtilization"] && *t.AverageUtilization < 1 {
		e.Invalid(fld.Child("averageUtilization"), *t.AverageUtilization, "must be greater than 0")
	}
	n := 0
	for _, f := range a.fields {
		if set[f] {
			n++
		}
	}
	switch {
	case n == 0:
		e.Required(fld.Child(a.missingAt), a.missing)
	case n > 1 && a.both != "":
		e.Forbidden(fld.Child(a.bothAt), a.both)
	}
}

// known are the sorts of targets.
var known = map[autoscalingv2.MetricTargetType]bool{
	autoscalingv2.UtilizationMetricType: true, autoscalingv2.ValueMetricType: true, autoscalingv2.AverageValueMetricType: true,
}
