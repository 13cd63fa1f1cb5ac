package autoscaling_test

import (
	"testing"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/autoscaling"
	"github.com/skiffcluster/skiff/api/kindtest"
)

func TestHorizontalPodAutoscaler(t *testing.T) {
	a := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "web"}, MaxReplicas: 3,
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{},
	}}
	autoscaling.HorizontalPodAutoscaler.Default(a)
	kindtest.Errors(t, autoscaling.HorizontalPodAutoscaler.Validate(a))
	if *a.Spec.MinReplicas != 1 || len(a.Spec.Behavior.ScaleUp.Policies) != 2 || a.Spec.Behavior.ScaleDown.StabilizationWindowSeconds != nil {
		t.Errorf("defaults %+v", a.Spec)
	}
	cells := func() []any { return autoscaling.HorizontalPodAutoscaler.Erase().Cells(a) }
	if c := cells(); c[1] != "Deployment/web" || c[2] != "cpu: <unknown>/80%" {
		t.Errorf("cells %v", c)
	}
	a.Status.CurrentMetrics = []autoscalingv2.MetricStatus{{
		Type:     autoscalingv2.ResourceMetricSourceType,
		Resource: &autoscalingv2.ResourceMetricStatus{Name: "cpu", Current: autoscalingv2.MetricValueStatus{AverageUtilization: ptr.To[int32](20)}},
	}}
	if c := cells(); c[2] != "cpu: 20%/80%" {
		t.Errorf("cells %v", c)
	}

	bad := &autoscalingv2.HorizontalPodAutoscaler{Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		MinReplicas: ptr.To[int32](2), MaxReplicas: 1,
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.PodsMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{}}},
	}}
	kindtest.Errors(t, autoscaling.HorizontalPodAutoscaler.Validate(bad),
		"spec.maxReplicas: Invalid value: 1: must be greater than or equal to `minReplicas`",
		"spec.scaleTargetRef.kind: Required value", "spec.scaleTargetRef.name: Required value",
		"spec.metrics[0].resource.name: Required value: must specify a resource name",
		"spec.metrics[0].resource.target.type: Required value: must specify a metric target type",
		`spec.metrics[0].resource.target.type: Invalid value: "": must be either Utilization, Value, or AverageValue`,
		"spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target utilization",
		"spec.metrics[0].pods: Required value: must populate information for the given metric source")
}

func TestWhatIsToldLastOfAutoscalers(t *testing.T) {
	a := &autoscalingv2.HorizontalPodAutoscaler{}
	for _, c := range []struct {
		name string
		max  int32
		want []string
	}{
		{"a limit must be given, after the target's group", 0, []string{
			`spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group`, "spec.maxReplicas: Required value",
		}},
		{"and be above zero", -1, []string{
			`spec.scaleTargetRef.apiVersion: Invalid value: "": apiVersion must specify API group`,
			"spec.maxReplicas: Invalid value: -1: must be greater than or equal to 1",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a.Spec.MaxReplicas = c.max
			kindtest.Errors(t, autoscaling.HorizontalPodAutoscaler.ValidateCreate(a), c.want...)
			kindtest.Errors(t, autoscaling.HorizontalPodAutoscaler.ValidateUpdate(a, a), c.want[1:]...)
		})
	}
}
