package podautoscaler

import (
	"context"
	"errors"
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"
)

// fixed are sources with an answer each.
type fixed struct {
	pods     samples
	object   int64
	external []int64
	err      error
}

func (f fixed) Resource(context.Context, corev1.ResourceName, string, labels.Selector, string) (samples, error) {
	return f.pods, f.err
}

func (f fixed) Pods(context.Context, autoscalingv2.MetricIdentifier, string, labels.Selector) (samples, error) {
	return f.pods, f.err
}

func (f fixed) Object(context.Context, autoscalingv2.MetricIdentifier, string, autoscalingv2.CrossVersionObjectReference) (int64, error) {
	return f.object, f.err
}

func (f fixed) External(context.Context, autoscalingv2.MetricIdentifier, string) ([]int64, error) {
	return f.external, f.err
}

func TestPropose(t *testing.T) {
	amount := func(s string) *resource.Quantity { return ptr.To(resource.MustParse(s)) }
	metric := autoscalingv2.MetricIdentifier{Name: "requests"}
	cpu := func(to autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
		return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{Name: corev1.ResourceCPU, Target: to}}
	}
	for _, c := range []struct {
		name    string
		sources fixed
		spec    autoscalingv2.MetricSpec
		want    int32
		metric  string
		reason  string
		err     string
	}{
		{
			name: "a share of the request", sources: fixed{pods: use(1000, 1000)},
			spec: cpu(autoscalingv2.MetricTarget{AverageUtilization: ptr.To[int32](50)}), want: 4, metric: "cpu resource utilization (percentage of request)",
		},
		{name: "an amount for each pod", sources: fixed{pods: use(1000, 1000)}, spec: cpu(autoscalingv2.MetricTarget{AverageValue: amount("250m")}), want: 8, metric: "cpu resource"},
		{
			name: "a share of one container's request", sources: fixed{pods: use(1000, 1000)}, want: 4, metric: "cpu container resource utilization (percentage of request)",
			spec: autoscalingv2.MetricSpec{Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
				Name: corev1.ResourceCPU, Container: "c", Target: autoscalingv2.MetricTarget{AverageUtilization: ptr.To[int32](50)},
			}},
		},
		{
			name: "a metric of pods", sources: fixed{pods: use(30000, 10000)}, want: 4, metric: "pods metric requests",
			spec: autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Metric: metric, Target: autoscalingv2.MetricTarget{AverageValue: amount("10")}}},
		},
		{
			name: "a metric of an object as it is", sources: fixed{object: 30000}, want: 6, metric: "Ingress metric requests",
			spec: autoscalingv2.MetricSpec{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{
				Metric: metric, DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Ingress", Name: "web"}, Target: autoscalingv2.MetricTarget{Value: amount("10")},
			}},
		},
		{
			name: "a metric from outside, divided", sources: fixed{external: []int64{30000, 25000}}, want: 6, metric: "external metric requests(nil)",
			spec: autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{Metric: metric, Target: autoscalingv2.MetricTarget{AverageValue: amount("10")}}},
		},
		{
			name: "what cannot be read", sources: fixed{err: errors.New("no such API")}, spec: cpu(autoscalingv2.MetricTarget{AverageUtilization: ptr.To[int32](50)}),
			reason: "FailedGetResourceMetric", err: "failed to get cpu utilization: unable to get metrics for resource cpu: no such API",
		},
		{name: "what nobody knows", spec: autoscalingv2.MetricSpec{Type: "Guess"}, reason: "InvalidMetricSourceType", err: `unknown metric source type "Guess"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := target{namespace: "default", selector: labels.Everything(), pods: []*corev1.Pod{pod(0), pod(1)}, spec: 2, replicas: 2}
			got, err := calculator{sources: c.sources, tolerate: tenth, now: epoch}.propose(t.Context(), at, c.spec)
			if c.reason != "" {
				var f failure
				if !errors.As(err, &f) || f.reason != c.reason || f.cause.Error() != c.err {
					t.Fatalf("error %#v", err)
				}
				return
			}
			if err != nil || got.replicas != c.want || got.metric != c.metric || got.status.Type != c.spec.Type {
				t.Errorf("%+v (%v), want %d of %s", got, err, c.want, c.metric)
			}
		})
	}
}

func TestAmbiguous(t *testing.T) {
	web, other := labels.SelectorFromSet(labels.Set{"app": "web"}), labels.SelectorFromSet(labels.Set{"app": "other"})
	selectors := map[string]labels.Selector{"self": web, "twin": web, "else": other}
	if got := ambiguous("self", selectors, []*corev1.Pod{pod(0)}); len(got) != 1 || got[0] != "twin" {
		t.Errorf("others %v", got)
	}
}
