package autoscaling

import (
	"fmt"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/skiffcluster/skiff/api/print"
)

const (
	unknown = print.Unknown
	// shown is how many metrics are listed before "more...".
	shown = 2
)

// targets lists what is measured and what is aimed at: "cpu: 20%/80%".
func targets(specs []autoscalingv2.MetricSpec, statuses []autoscalingv2.MetricStatus) string {
	if len(specs) == 0 {
		return print.None
	}
	var list []string
	for i := range specs {
		var now autoscalingv2.MetricStatus
		if i < len(statuses) {
			now = statuses[i]
		}
		list = append(list, target(&specs[i], &now))
	}
	if more := len(list) - shown; more > 0 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:shown], ", "), more)
	}
	return strings.Join(list, ", ")
}

func target(s *autoscalingv2.MetricSpec, now *autoscalingv2.MetricStatus) string {
	switch {
	case s.External != nil:
		var current autoscalingv2.MetricValueStatus
		if now.External != nil {
			current = now.External.Current
		}
		return valueOrAverage(s.External.Target, current)
	case s.Object != nil:
		var current autoscalingv2.MetricValueStatus
		if now.Object != nil {
			current = now.Object.Current
		}
		return valueOrAverage(s.Object.Target, current)
	case s.Pods != nil:
		current := unknown
		if now.Pods != nil {
			current = text(now.Pods.Current.AverageValue)
		}
		return current + "/" + text(s.Pods.Target.AverageValue)
	case s.Resource != nil:
		var current autoscalingv2.MetricValueStatus
		if now.Resource != nil {
			current = now.Resource.Current
		}
		return string(s.Resource.Name) + ": " + averageOrUtilization(s.Resource.Target, current)
	case s.ContainerResource != nil:
		var current autoscalingv2.MetricValueStatus
		if now.ContainerResource != nil {
			current = now.ContainerResource.Current
		}
		return string(s.ContainerResource.Name) + ": " + averageOrUtilization(s.ContainerResource.Target, current)
	}
	return "<unknown type>"
}

func valueOrAverage(t autoscalingv2.MetricTarget, current autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return text(current.AverageValue) + "/" + text(t.AverageValue) + " (avg)"
	}
	return text(current.Value) + "/" + text(t.Value)
}

func averageOrUtilization(t autoscalingv2.MetricTarget, current autoscalingv2.MetricValueStatus) string {
	if t.AverageValue != nil {
		return text(current.AverageValue) + "/" + text(t.AverageValue)
	}
	return percent(current.AverageUtilization, unknown) + "/" + percent(t.AverageUtilization, "<auto>")
}

func text(q *resource.Quantity) string {
	if q == nil {
		return unknown
	}
	return q.String()
}

func percent(p *int32, otherwise string) string {
	if p == nil {
		return otherwise
	}
	return fmt.Sprintf("%d%%", *p)
}
