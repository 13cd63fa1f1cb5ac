package podautoscaler

import (
	"context"
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/controllers/podctl"
)

// target is what is scaled, as a turn sees it.
type target struct {
	namespace      string
	selector       labels.Selector
	pods           []*corev1.Pod // the cache's own
	spec, replicas int32         // wanted, and there
}

// proposal is what one metric asks for.
type proposal struct {
	replicas int32
	metric   string // its name in messages
	status   autoscalingv2.MetricStatus
}

// calculator asks metrics for replicas.
type calculator struct {
	sources  Sources
	tolerate tolerances
	now      time.Time
}

// failure is an error with the reason by which conditions and events tell it.
type failure struct {
	reason string
	cause  error // in condition and event
	error        // in the log
}

func (f failure) Unwrap() error { return f.error }

// propose asks one metric.
func (c calculator) propose(ctx context.Context, t target, spec autoscalingv2.MetricSpec) (proposal, error) {
	var p proposal
	var err error
	var reason, what string
	switch spec.Type {
	case autoscalingv2.ObjectMetricSourceType:
		reason, what = "FailedGetObjectMetric", "object metric"
		p, err = c.object(ctx, t, spec.Object)
	case autoscalingv2.PodsMetricSourceType:
		reason, what = "FailedGetPodsMetric", "pods metric"
		p, err = c.ofPods(ctx, t, spec.Pods)
	case autoscalingv2.ResourceMetricSourceType:
		reason, what = "FailedGetResourceMetric", string(spec.Resource.Name)+" resource metric"
		var current autoscalingv2.MetricValueStatus
		p, current, err = c.resource(ctx, t, spec.Resource.Name, spec.Resource.Target, "")
		p.status.Resource = &autoscalingv2.ResourceMetricStatus{Name: spec.Resource.Name, Current: current}
	case autoscalingv2.ContainerResourceMetricSourceType:
		source := spec.ContainerResource
		reason, what = "FailedGetContainerResourceMetric", string(source.Name)+" container metric"
		var current autoscalingv2.MetricValueStatus
		p, current, err = c.resource(ctx, t, source.Name, source.Target, source.Container)
		p.status.ContainerResource = &autoscalingv2.ContainerResourceMetricStatus{Name: source.Name, Container: source.Container, Current: current}
	case autoscalingv2.ExternalMetricSourceType:
		reason, what = "FailedGetExternalMetric", spec.External.Metric.Name+" external metric"
		p, err = c.external(ctx, t, spec.External)
	default:
		err = fmt.Errorf("unknown metric source type %q", string(spec.Type))
		return proposal{}, failure{"InvalidMetricSourceType", err, err}
	}
	if err != nil {
		return proposal{}, failure{reason, err, fmt.Errorf("failed to get %s value: %w", what, err)}
	}
	p.status.Type = spec.Type
	return p, nil
}

// resource is about what pods use of cpu, memory and the like.
func (c calculator) resource(ctx context.Context, t target, name corev1.ResourceName, to autoscalingv2.MetricTarget, container string) (proposal, autoscalingv2.MetricValueStatus, error) {
	var current autoscalingv2.MetricValueStatus
	kind := "resource"
	if container != "" {
		kind = "container resource"
	}
	verb := "utilization"
	if to.AverageValue != nil {
		verb = "usage"
	} else if to.AverageUtilization == nil {
		return proposal{}, current, errors.New("invalid resource metric source: neither an average utilization target nor an average value (usage) target was set")
	}
	fail := func(err error) (proposal, autoscalingv2.MetricValueStatus, error) {
		return proposal{}, current, fmt.Errorf("failed to get %s %s: %w", name, verb, err)
	}
	measured, err := c.sources.Resource(ctx, name, t.namespace, t.selector, container)
	if err != nil {
		return fail(fmt.Errorf("unable to get metrics for resource %s: %w", name, err))
	}
	counted := func() samples {
		g := planGroups(t.pods, measured, name, c.now)
		return without(measured, g.unready, g.ignored)
	}
	if to.AverageValue != nil {
		replicas, err := planReplicas(t.spec, t.pods, measured, name, averageAim(to.AverageValue.MilliValue()), c.tolerate, c.now)
		if err != nil {
			return fail(err)
		}
		current.AverageValue = quantity(average(counted()))
		return proposal{replicas: replicas, metric: fmt.Sprintf("%s %s", name, kind)}, current, nil
	}
	requests, err := requestsOf(t.pods, name, container)
	if err != nil {
		return fail(err)
	}
	replicas, err := planReplicas(t.spec, t.pods, measured, name, utilizationAim(*to.AverageUtilization, requests), c.tolerate, c.now)
	if err != nil {
		return fail(err)
	}
	percent, err := utilization(counted(), requests)
	if err != nil {
		return fail(err)
	}
	current.AverageUtilization, current.AverageValue = &percent, quantity(average(counted()))
	return proposal{replicas: replicas, metric: fmt.Sprintf("%s %s utilization (percentage of request)", name, kind)}, current, nil
}

func (c calculator) ofPods(ctx context.Context, t target, source *autoscalingv2.PodsMetricSource) (proposal, error) {
	measured, err := c.sources.Pods(ctx, source.Metric, t.namespace, t.selector)
	if err != nil {
		return proposal{}, fmt.Errorf("unable to get metric %s: %w", source.Metric.Name, err)
	}
	replicas, err := planReplicas(t.spec, t.pods, measured, "", averageAim(source.Target.AverageValue.MilliValue()), c.tolerate, c.now)
	if err != nil {
		return proposal{}, err
	}
	g := planGroups(t.pods, measured, "", c.now)
	return proposal{replicas: replicas, metric: "pods metric " + source.Metric.Name, status: autoscalingv2.MetricStatus{Pods: &autoscalingv2.PodsMetricStatus{
		Metric: source.Metric, Current: autoscalingv2.MetricValueStatus{AverageValue: quantity(average(without(measured, g.unready, g.ignored)))},
	}}}, nil
}

func (c calculator) object(ctx context.Context, t target, source *autoscalingv2.ObjectMetricSource) (proposal, error) {
	value, err := c.sources.Object(ctx, source.Metric, t.namespace, source.DescribedObject)
	if err != nil {
		return proposal{}, fmt.Errorf("unable to get metric %s: %s on %s %w", source.Metric.Name, source.DescribedObject.Kind, t.namespace, err)
	}
	replicas, current, err := c.whole(t, value, source.Target)
	if err != nil {
		return proposal{}, fmt.Errorf("invalid object metric source: %w", err)
	}
	return proposal{replicas: replicas, metric: fmt.Sprintf("%s metric %s", source.DescribedObject.Kind, source.Metric.Name), status: autoscalingv2.MetricStatus{Object: &autoscalingv2.ObjectMetricStatus{
		Metric: source.Metric, DescribedObject: source.DescribedObject, Current: current,
	}}}, nil
}

func (c calculator) external(ctx context.Context, t target, source *autoscalingv2.ExternalMetricSource) (proposal, error) {
	values, err := c.sources.External(ctx, source.Metric, t.namespace)
	if err != nil {
		return proposal{}, fmt.Errorf("unable to get external metric %s/%s/%+v: %w", t.namespace, source.Metric.Name, source.Metric.Selector, err)
	}
	var sum int64
	for _, value := range values {
		sum += value
	}
	replicas, current, err := c.whole(t, sum, source.Target)
	if err != nil {
		return proposal{}, fmt.Errorf("invalid external metric source: %w", err)
	}
	return proposal{replicas: replicas, metric: fmt.Sprintf("external metric %s(%+v)", source.Metric.Name, source.Metric.Selector), status: autoscalingv2.MetricStatus{External: &autoscalingv2.ExternalMetricStatus{
		Metric: source.Metric, Current: current,
	}}}, nil
}

// whole is about a value that is not a pod's: it is to be near a target as it
// is, or when it is divided among the pods.
func (c calculator) whole(t target, value int64, to autoscalingv2.MetricTarget) (int32, autoscalingv2.MetricValueStatus, error) {
	switch {
	case to.AverageValue != nil && to.AverageValue.MilliValue() > 0:
		replicas := t.replicas
		share := float64(value) / float64(to.AverageValue.MilliValue())
		if t.replicas == 0 || !c.tolerate.covers(share/float64(t.replicas)) {
			replicas = ceil(share)
		}
		return replicas, autoscalingv2.MetricValueStatus{AverageValue: quantity(perPod(value, t.replicas))}, nil
	case to.Value != nil && to.Value.MilliValue() > 0:
		current := autoscalingv2.MetricValueStatus{Value: quantity(value)}
		ratio := float64(value) / float64(to.Value.MilliValue())
		switch {
		case t.spec == 0:
			return ceil(ratio), current, nil // from zero there is nothing to multiply
		case c.tolerate.covers(ratio):
			return t.spec, current, nil
		}
		return ceil(ratio * float64(readyPods(t.pods))), current, nil
	}
	return 0, autoscalingv2.MetricValueStatus{}, errors.New("neither a value target nor an average value target was set")
}

func perPod(value int64, replicas int32) int64 {
	if replicas <= 0 {
		return value
	}
	return (value + int64(replicas) - 1) / int64(replicas)
}

func readyPods(pods []*corev1.Pod) (n int) {
	for _, pod := range pods {
		if pod.Status.Phase == corev1.PodRunning && podctl.IsReady(pod) {
			n++
		}
	}
	return n
}

func quantity(milli int64) *resource.Quantity {
	return ptr.To(*resource.NewMilliQuantity(milli, resource.DecimalSI))
}

// ambiguous names the other autoscalers whose selector matches one of the pods.
func ambiguous(self string, selectors map[string]labels.Selector, pods []*corev1.Pod) []string {
	var others []string
	for name, selector := range selectors {
		if name == self {
			continue
		}
		for _, pod := range pods {
			if selector.Matches(labels.Set(pod.Labels)) {
				others = append(others, name)
				break
			}
		}
	}
	return others
}
