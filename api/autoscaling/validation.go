package autoscaling

import (
	"fmt"
	"slices"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/skiffcluster/skiff/api/validate"
)

const (
	maxPeriodSeconds = 1800
	maxWindowSeconds = 3600
)

func validateAutoscaler(a *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	var e validate.Errors
	s, fld := &a.Spec, field.NewPath("spec")
	if s.MinReplicas != nil && *s.MinReplicas < 1 {
		e.Invalid(fld.Child("minReplicas"), *s.MinReplicas, "must be greater than or equal to 1")
	}
	if s.MaxReplicas < 1 {
		e.Invalid(fld.Child("maxReplicas"), s.MaxReplicas, "must be greater than 0")
	}
	if s.MinReplicas != nil && s.MaxReplicas < *s.MinReplicas {
		e.Invalid(fld.Child("maxReplicas"), s.MaxReplicas, "must be greater than or equal to `minReplicas`")
	}
	checkReference(&e, s.ScaleTargetRef, fld.Child("scaleTargetRef"))
	for i := range s.Metrics {
		checkMetric(&e, &s.Metrics[i], fld.Child("metrics").Index(i))
	}
	if s.Behavior != nil {
		checkRules(&e, s.Behavior.ScaleUp, fld.Child("behavior", "scaleUp"))
		checkRules(&e, s.Behavior.ScaleDown, fld.Child("behavior", "scaleDown"))
	}
	return e.List()
}

func checkReference(e *validate.Errors, r autoscalingv2.CrossVersionObjectReference, fld *field.Path) {
	checkSegment(e, r.Kind, "", fld.Child("kind"))
	checkSegment(e, r.Name, "", fld.Child("name"))
}

// checkSegment checks what is to stand in a URL.
func checkSegment(e *validate.Errors, value, missing string, fld *field.Path) {
	if value == "" {
		e.Required(fld, missing)
		return
	}
	e.Messages(fld, value, validate.PathSegment(value, false))
}

func checkRules(e *validate.Errors, r *autoscalingv2.HPAScalingRules, fld *field.Path) {
	if r == nil {
		return
	}
	if w := r.StabilizationWindowSeconds; w != nil && *w < 0 {
		e.Invalid(fld.Child("stabilizationWindowSeconds"), *w, "must be greater than or equal to zero")
	} else if w != nil && *w > maxWindowSeconds {
		e.Invalid(fld.Child("stabilizationWindowSeconds"), *w, fmt.Sprintf("must be less than or equal to %d", maxWindowSeconds))
	}
	if r.SelectPolicy != nil {
		validate.Enum(e, fld.Child("selectPolicy"), *r.SelectPolicy,
			autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)
	}
	if len(r.Policies) == 0 {
		e.Required(fld.Child("policies"), "must specify at least one Policy")
	}
	for i, p := range r.Policies {
		at := fld.Child("policies").Index(i)
		validate.Enum(e, at.Child("type"), p.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
		if p.Value <= 0 {
			e.Invalid(at.Child("value"), p.Value, "must be greater than zero")
		}
		if p.PeriodSeconds <= 0 {
			e.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, "must be greater than zero")
		} else if p.PeriodSeconds > maxPeriodSeconds {
			e.Invalid(at.Child("periodSeconds"), p.PeriodSeconds, fmt.Sprintf("must be less than or equal to %d", maxPeriodSeconds))
		}
	}
	if r.Tolerance != nil && r.Tolerance.Sign() < 0 {
		e.Invalid(fld.Child("tolerance"), r.Tolerance, "must be greater than or equal to zero")
	}
}

func checkMetric(e *validate.Errors, m *autoscalingv2.MetricSpec, fld *field.Path) {
	if m.Type == "" {
		e.Required(fld.Child("type"), "must specify a metric source type")
	}
	validate.Enum(e, fld.Child("type"), m.Type, autoscalingv2.ContainerResourceMetricSourceType, autoscalingv2.ExternalMetricSourceType,
		autoscalingv2.ObjectMetricSourceType, autoscalingv2.PodsMetricSourceType, autoscalingv2.ResourceMetricSourceType)
	var there []string
	source := func(name string, has bool, check func(*field.Path)) {
		if !has {
			return
		}
		if there = append(there, name); len(there) == 1 {
			check(fld.Child(name))
		}
	}
	source("object", m.Object != nil, func(p *field.Path) { checkObject(e, m.Object, p) })
	source("external", m.External != nil, func(p *field.Path) { checkExternal(e, m.External, p) })
	source("pods", m.Pods != nil, func(p *field.Path) {
		checkSegment(e, m.Pods.Metric.Name, "must specify a metric name", p.Child("metric", "name"))
		checkTarget(e, m.Pods.Target, p.Child("target"))
		if m.Pods.Target.AverageValue == nil {
			e.Required(p.Child("target", "averageValue"), "must specify a positive target averageValue")
		}
	})
	source("resource", m.Resource != nil, func(p *field.Path) {
		checkResource(e, m.Resource.Name, m.Resource.Target, p)
	})
	source("containerResource", m.ContainerResource != nil, func(p *field.Path) {
		if m.ContainerResource.Container == "" {
			e.Required(p.Child("container"), "must specify a container")
		} else {
			e.DNSLabel(p.Child("container"), m.ContainerResource.Container)
		}
		checkResource(e, m.ContainerResource.Name, m.ContainerResource.Target, p)
	})
	expected := map[autoscalingv2.MetricSourceType]string{
		autoscalingv2.ObjectMetricSourceType: "object", autoscalingv2.PodsMetricSourceType: "pods", autoscalingv2.ResourceMetricSourceType: "resource",
		autoscalingv2.ExternalMetricSourceType: "external", autoscalingv2.ContainerResourceMetricSourceType: "containerResource",
	}[m.Type]
	if expected != "" && !slices.Contains(there, expected) {
		e.Required(fld.Child(expected), "must populate information for the given metric source")
	}
	if len(there) == 1 {
		return
	}
	for _, name := range there {
		if name != expected {
			e.Forbidden(fld.Child(name), "must populate the given metric source only")
		}
	}
}

func checkObject(e *validate.Errors, s *autoscalingv2.ObjectMetricSource, fld *field.Path) {
	checkReference(e, s.DescribedObject, fld.Child("describedObject"))
	checkSegment(e, s.Metric.Name, "must specify a metric name", fld.Child("metric", "name"))
	checkTarget(e, s.Target, fld.Child("target"))
	if s.Target.Value == nil && s.Target.AverageValue == nil {
		e.Required(fld.Child("target", "averageValue"), "must set either a target value or averageValue")
	}
}

func checkExternal(e *validate.Errors, s *autoscalingv2.ExternalMetricSource, fld *field.Path) {
	checkSegment(e, s.Metric.Name, "must specify a metric name", fld.Child("metric", "name"))
	checkTarget(e, s.Target, fld.Child("target"))
	if s.Target.Value == nil && s.Target.AverageValue == nil {
		e.Required(fld.Child("target", "averageValue"), "must set either a target value for metric or a per-pod target")
	}
	if s.Target.Value != nil && s.Target.AverageValue != nil {
		e.Forbidden(fld.Child("target", "value"), "may not set both a target value for metric and a per-pod target")
	}
}

func checkResource(e *validate.Errors, name corev1.ResourceName, t autoscalingv2.MetricTarget, fld *field.Path) {
	if name == "" {
		e.Required(fld.Child("name"), "must specify a resource name")
	}
	checkTarget(e, t, fld.Child("target"))
	if t.AverageUtilization == nil && t.AverageValue == nil {
		e.Required(fld.Child("target", "averageUtilization"), "must set either a target raw value or a target utilization")
	}
	if t.AverageUtilization != nil && t.AverageValue != nil {
		e.Forbidden(fld.Child("target", "averageValue"), "may not set both a target raw value and a target utilization")
	}
}

func checkTarget(e *validate.Errors, t autoscalingv2.MetricTarget, fld *field.Path) {
	if t.Type == "" {
		e.Required(fld.Child("type"), "must specify a metric target type")
	}
	switch t.Type {
	case autoscalingv2.UtilizationMetricType, autoscalingv2.ValueMetricType, autoscalingv2.AverageValueMetricType:
	default:
		e.Invalid(fld.Child("type"), t.Type, "must be either Utilization, Value, or AverageValue")
	}
	if t.Value != nil && t.Value.Sign() != 1 {
		e.Invalid(fld.Child("value"), t.Value, "must be positive")
	}
	if t.AverageValue != nil && t.AverageValue.Sign() != 1 {
		e.Invalid(fld.Child("averageValue"), t.AverageValue, "must be positive")
	}
	if t.AverageUtilization != nil && *t.AverageUtilization < 1 {
		e.Invalid(fld.Child("averageUtilization"), *t.AverageUtilization, "must be greater than 0")
	}
}
