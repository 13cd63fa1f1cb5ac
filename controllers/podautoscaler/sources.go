package podautoscaler

import (
	"context"
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	metricsclient "k8s.io/metrics/pkg/client/clientset/versioned/typed/metrics/v1beta1"
	"k8s.io/metrics/pkg/client/custom_metrics"
	"k8s.io/metrics/pkg/client/external_metrics"
	ctrl "sigs.k8s.io/controller-runtime"
)

// defaultWindow is what a metric that does not say was measured over.
const defaultWindow = time.Minute

// sample is what one pod uses, in thousandths of the metric's unit, as measured
// during the window before at.
type sample struct {
	value  int64
	at     time.Time
	window time.Duration
}

// samples are those of pods, by name.
type samples map[string]sample

// Sources read metrics.
type Sources interface {
	// Resource reads what pods, or one container of each, use of a resource.
	Resource(ctx context.Context, resource corev1.ResourceName, namespace string, pods labels.Selector, container string) (samples, error)
	// Pods reads a metric of each pod.
	Pods(ctx context.Context, metric autoscalingv2.MetricIdentifier, namespace string, pods labels.Selector) (samples, error)
	// Object reads a metric of one object, in thousandths.
	Object(ctx context.Context, metric autoscalingv2.MetricIdentifier, namespace string, object autoscalingv2.CrossVersionObjectReference) (int64, error)
	// External reads the values of a metric that is of no object, in thousandths.
	External(ctx context.Context, metric autoscalingv2.MetricIdentifier, namespace string) ([]int64, error)
}

// metricsAPIs are the sources that an API server, or what it passes requests on
// to, serves.
type metricsAPIs struct {
	resource metricsclient.PodMetricsesGetter
	custom   custom_metrics.CustomMetricsClient
	external external_metrics.ExternalMetricsClient
	versions custom_metrics.AvailableAPIsGetter
}

func newSources(mgr ctrl.Manager) (Sources, error) {
	resource, err := metricsclient.NewForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make a client of metrics: %w", err)
	}
	external, err := external_metrics.NewForConfig(mgr.GetConfig())
	if err != nil {
		return nil, fmt.Errorf("make a client of external metrics: %w", err)
	}
	discover, err := discovery.NewDiscoveryClientForConfigAndClient(mgr.GetConfig(), mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("make a discovery client: %w", err)
	}
	versions := custom_metrics.NewAvailableAPIsGetter(discover)
	return &metricsAPIs{
		resource: resource, external: external, versions: versions,
		custom: custom_metrics.NewForConfig(mgr.GetConfig(), mgr.GetRESTMapper(), versions),
	}, nil
}

// Resource implements Sources.
func (m *metricsAPIs) Resource(ctx context.Context, resource corev1.ResourceName, namespace string, pods labels.Selector, container string) (samples, error) {
	list, err := m.resource.PodMetricses(namespace).List(ctx, metav1.ListOptions{LabelSelector: pods.String()})
	if err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from resource metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("no metrics returned from resource metrics API")
	}
	found := samples{}
	for i := range list.Items {
		value, ok, err := usageOf(&list.Items[i], resource, container)
		if err != nil {
			return nil, err
		}
		if ok {
			found[list.Items[i].Name] = sample{value: value, at: list.Items[i].Timestamp.Time, window: list.Items[i].Window.Duration}
		}
	}
	return found, nil
}

// usageOf adds up what a pod's containers use; not ok when one of them is not
// measured.
func usageOf(pod *metricsv1beta1.PodMetrics, resource corev1.ResourceName, container string) (sum int64, ok bool, err error) {
	for i := range pod.Containers {
		each := &pod.Containers[i]
		if container != "" && each.Name != container {
			continue
		}
		used, measured := each.Usage[resource]
		if !measured {
			return 0, false, nil
		}
		sum += used.MilliValue()
		ok = true
	}
	if !ok && container != "" {
		return 0, false, fmt.Errorf("container %s not present in metrics for pod %s/%s", container, pod.Namespace, pod.Name)
	}
	return sum, ok, nil
}

// Pods implements Sources.
func (m *metricsAPIs) Pods(_ context.Context, metric autoscalingv2.MetricIdentifier, namespace string, pods labels.Selector) (samples, error) {
	selector, err := metav1.LabelSelectorAsSelector(metric.Selector)
	if err != nil {
		return nil, err
	}
	list, err := m.custom.NamespacedMetrics(namespace).GetForObjects(schema.GroupKind{Kind: "Pod"}, pods, metric.Name, selectAll(metric, selector))
	if err != nil {
		m.versions.Invalidate() // it may be served in another version by now
		return nil, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("no metrics returned from custom metrics API")
	}
	found := samples{}
	for _, each := range list.Items {
		window := defaultWindow
		if each.WindowSeconds != nil {
			window = time.Duration(*each.WindowSeconds) * time.Second
		}
		found[each.DescribedObject.Name] = sample{value: each.Value.MilliValue(), at: each.Timestamp.Time, window: window}
	}
	return found, nil
}

// Object implements Sources.
func (m *metricsAPIs) Object(_ context.Context, metric autoscalingv2.MetricIdentifier, namespace string, object autoscalingv2.CrossVersionObjectReference) (int64, error) {
	selector, err := metav1.LabelSelectorAsSelector(metric.Selector)
	if err != nil {
		return 0, err
	}
	client, kind := m.custom.NamespacedMetrics(namespace), schema.FromAPIVersionAndKind(object.APIVersion, object.Kind).GroupKind()
	if kind == (schema.GroupKind{Kind: "Namespace"}) {
		client = m.custom.RootScopedMetrics()
	}
	value, err := client.GetForObject(kind, object.Name, metric.Name, selectAll(metric, selector))
	if err != nil {
		m.versions.Invalidate()
		return 0, fmt.Errorf("unable to fetch metrics from custom metrics API: %w", err)
	}
	return value.Value.MilliValue(), nil
}

// selectAll is the selector of a metric: one that is not given selects all.
func selectAll(metric autoscalingv2.MetricIdentifier, selector labels.Selector) labels.Selector {
	if metric.Selector == nil {
		return labels.Everything()
	}
	return selector
}

// External implements Sources.
func (m *metricsAPIs) External(_ context.Context, metric autoscalingv2.MetricIdentifier, namespace string) ([]int64, error) {
	selector, err := metav1.LabelSelectorAsSelector(metric.Selector)
	if err != nil {
		return nil, err
	}
	list, err := m.external.NamespacedMetrics(namespace).List(metric.Name, selectAll(metric, selector))
	if err != nil {
		return nil, fmt.Errorf("unable to fetch metrics from external metrics API: %w", err)
	}
	if len(list.Items) == 0 {
		return nil, errors.New("no metrics returned from external metrics API")
	}
	values := make([]int64, 0, len(list.Items))
	for _, each := range list.Items {
		values = append(values, each.Value.MilliValue())
	}
	return values, nil
}
