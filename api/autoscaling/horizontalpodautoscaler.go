package autoscaling

import (
	"strconv"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// defaultUtilization is what is aimed at where no metric is given, percent of
// the request of CPU.
const defaultUtilization = 80

// HorizontalPodAutoscaler scales a workload by what its pods use.
var HorizontalPodAutoscaler = api.Of[autoscalingv2.HorizontalPodAutoscaler]{
	Group: autoscalingv2.GroupName, Version: "v2", Kind: "HorizontalPodAutoscaler", Resource: "horizontalpodautoscalers",
	Generation: true,
	ShortNames: []string{"hpa"},
	Categories: []string{"all"},

	Default:        setDefaults,
	Validate:       validateAutoscaler,
	ValidateCreate: checkNew,
	ValidateUpdate: checkChange,
	Status: &api.Status[autoscalingv2.HorizontalPodAutoscaler]{
		Validate: func(a, _ *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
			fld := field.NewPath("status")
			return append(apivalidation.ValidateNonnegativeField(int64(a.Status.CurrentReplicas), fld.Child("currentReplicas")),
				apivalidation.ValidateNonnegativeField(int64(a.Status.DesiredReplicas), fld.Child("desiredReplicas"))...)
		},
	},

	Columns: []api.Column[autoscalingv2.HorizontalPodAutoscaler]{
		print.Name[autoscalingv2.HorizontalPodAutoscaler](),
		{
			Name: "Reference", Description: autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()["scaleTargetRef"],
			Value: func(a *autoscalingv2.HorizontalPodAutoscaler) any {
				return a.Spec.ScaleTargetRef.Kind + "/" + a.Spec.ScaleTargetRef.Name
			},
		},
		{
			Name: "Targets", Description: autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()["metrics"],
			Value: func(a *autoscalingv2.HorizontalPodAutoscaler) any {
				return targets(a.Spec.Metrics, a.Status.CurrentMetrics)
			},
		},
		{
			Name: "MinPods", Description: autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()["minReplicas"],
			Value: func(a *autoscalingv2.HorizontalPodAutoscaler) any {
				if a.Spec.MinReplicas == nil {
					return "<unset>"
				}
				return strconv.Itoa(int(*a.Spec.MinReplicas))
			},
		},
		{
			Name: "MaxPods", Description: autoscalingv2.HorizontalPodAutoscalerSpec{}.SwaggerDoc()["maxReplicas"],
			Value: func(a *autoscalingv2.HorizontalPodAutoscaler) any { return int64(a.Spec.MaxReplicas) },
		},
		{
			Name: "Replicas", Description: autoscalingv2.HorizontalPodAutoscalerStatus{}.SwaggerDoc()["currentReplicas"],
			Value: func(a *autoscalingv2.HorizontalPodAutoscaler) any { return int64(a.Status.CurrentReplicas) },
		},
		print.Age[autoscalingv2.HorizontalPodAutoscaler](),
	},
}

func setDefaults(a *autoscalingv2.HorizontalPodAutoscaler) {
	if a.Spec.MinReplicas == nil {
		a.Spec.MinReplicas = ptr.To[int32](1)
	}
	if len(a.Spec.Metrics) == 0 {
		a.Spec.Metrics = []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name:   corev1.ResourceCPU,
				Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: ptr.To[int32](defaultUtilization)},
			},
		}}
	}
	if b := a.Spec.Behavior; b != nil {
		b.ScaleUp = rulesWith(b.ScaleUp, autoscalingv2.HPAScalingRules{
			StabilizationWindowSeconds: ptr.To[int32](0), SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect),
			Policies: []autoscalingv2.HPAScalingPolicy{
				{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
				{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
			},
		})
		// The window of scaling down is --horizontal-pod-autoscaler-downscale-stabilization.
		b.ScaleDown = rulesWith(b.ScaleDown, autoscalingv2.HPAScalingRules{
			SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect),
			Policies:     []autoscalingv2.HPAScalingPolicy{{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15}},
		})
	}
}

// rulesWith fills in what rules leave out.
func rulesWith(r *autoscalingv2.HPAScalingRules, defaults autoscalingv2.HPAScalingRules) *autoscalingv2.HPAScalingRules {
	if r == nil {
		return &defaults
	}
	if r.SelectPolicy == nil {
		r.SelectPolicy = defaults.SelectPolicy
	}
	if r.StabilizationWindowSeconds == nil {
		r.StabilizationWindowSeconds = defaults.StabilizationWindowSeconds
	}
	if r.Policies == nil {
		r.Policies = defaults.Policies
	}
	return r
}
