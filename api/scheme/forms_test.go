package scheme_test

import (
	"testing"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	resourcev1beta1 "k8s.io/api/resource/v1beta1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/scheme"
)

// as converts between a version and the type that objects are worked on in.
func as(t *testing.T, s *runtime.Scheme, obj runtime.Object, group, version string) runtime.Object {
	t.Helper()
	out, err := s.ConvertToVersion(obj, schema.GroupVersion{Group: group, Version: version})
	if err != nil {
		t.Fatal(err)
	}
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return out
}

func quantity(text string) *resource.Quantity { return ptr.To(resource.MustParse(text)) }

func TestAutoscalersOfTheFirstVersion(t *testing.T) {
	s := scheme.New()
	full := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"own": "1"}},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{Kind: "Deployment", Name: "web", APIVersion: "apps/v1"},
			MinReplicas:    ptr.To[int32](2), MaxReplicas: 5,
			Metrics: []autoscalingv2.MetricSpec{
				{Type: "Pods", Pods: &autoscalingv2.PodsMetricSource{
					Metric: autoscalingv2.MetricIdentifier{Name: "hits"}, Target: autoscalingv2.MetricTarget{Type: "AverageValue", AverageValue: quantity("10")},
				}},
				{Type: "Object", Object: &autoscalingv2.ObjectMetricSource{
					DescribedObject: autoscalingv2.CrossVersionObjectReference{Kind: "Ingress", Name: "site"}, Metric: autoscalingv2.MetricIdentifier{Name: "hits"},
					Target: autoscalingv2.MetricTarget{Type: "Value", Value: quantity("7")},
				}},
				{Type: "External", External: &autoscalingv2.ExternalMetricSource{
					Metric: autoscalingv2.MetricIdentifier{Name: "queue", Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}},
					Target: autoscalingv2.MetricTarget{Type: "AverageValue", AverageValue: quantity("3")},
				}},
				{Type: "ContainerResource", ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
					Name: "memory", Container: "web", Target: autoscalingv2.MetricTarget{Type: "Utilization", AverageUtilization: ptr.To[int32](60)},
				}},
				{Type: "Resource", Resource: &autoscalingv2.ResourceMetricSource{
					Name: "cpu", Target: autoscalingv2.MetricTarget{Type: "Utilization", AverageUtilization: ptr.To[int32](70)},
				}},
			},
			Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{
				ScaleUp: &autoscalingv2.HPAScalingRules{
					StabilizationWindowSeconds: ptr.To[int32](0), SelectPolicy: ptr.To(autoscalingv2.MaxChangePolicySelect),
					Policies: []autoscalingv2.HPAScalingPolicy{{Type: "Pods", Value: 4, PeriodSeconds: 15}},
				},
				ScaleDown: &autoscalingv2.HPAScalingRules{
					StabilizationWindowSeconds: ptr.To[int32](300), SelectPolicy: ptr.To(autoscalingv2.MinChangePolicySelect),
					Policies: []autoscalingv2.HPAScalingPolicy{{Type: "Percent", Value: 10, PeriodSeconds: 60}}, Tolerance: quantity("100m"),
				},
			},
		},
		Status: autoscalingv2.HorizontalPodAutoscalerStatus{
			CurrentReplicas: 2, DesiredReplicas: 3,
			CurrentMetrics: []autoscalingv2.MetricStatus{{Type: "Resource", Resource: &autoscalingv2.ResourceMetricStatus{
				Name: "cpu", Current: autoscalingv2.MetricValueStatus{AverageUtilization: ptr.To[int32](50), AverageValue: quantity("200m")},
			}}},
			Conditions: []autoscalingv2.HorizontalPodAutoscalerCondition{{Type: "AbleToScale", Status: corev1.ConditionTrue, Reason: "Ready"}},
		},
	}
	first := as(t, s, full, "autoscaling", "v1").(*autoscalingv1.HorizontalPodAutoscaler)
	if *first.Spec.TargetCPUUtilizationPercentage != 70 || *first.Status.CurrentCPUUtilizationPercentage != 50 || first.Annotations["own"] != "1" {
		t.Errorf("As the first version: %+v.", first)
	}
	for name, want := range map[string]string{
		"behavior": `{"ScaleUp":{"StabilizationWindowSeconds":0,"SelectPolicy":"Max","Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}]},` +
			`"ScaleDown":{"StabilizationWindowSeconds":300,"SelectPolicy":"Min","Policies":[{"Type":"Percent","Value":10,"PeriodSeconds":60}],"Tolerance":"100m"}}`,
		"conditions":      `[{"type":"AbleToScale","status":"True","lastTransitionTime":null,"reason":"Ready"}]`,
		"current-metrics": `[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":50,"currentAverageValue":"200m"}}]`,
	} {
		if got := first.Annotations["autoscaling.alpha.kubernetes.io/"+name]; got != want {
			t.Errorf("Annotation %s:\n%s\nwant\n%s", name, got, want)
		}
	}
	back := as(t, s, first, "autoscaling", runtime.APIVersionInternal)
	if !apiequality.Semantic.DeepEqual(full, back) {
		t.Errorf("There and back:\n%s", diff.Diff(full, back))
	}

	least := as(t, s, &autoscalingv1.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"autoscaling.alpha.kubernetes.io/metrics": "no JSON"}},
		Spec:       autoscalingv1.HorizontalPodAutoscalerSpec{MaxReplicas: 3},
	}, "autoscaling", runtime.APIVersionInternal).(*autoscalingv2.HorizontalPodAutoscaler)
	if len(least.Spec.Metrics) != 1 || *least.Spec.Metrics[0].Resource.Target.AverageUtilization != 80 || *least.Spec.MinReplicas != 1 || least.Annotations != nil {
		t.Errorf("With defaults: %+v %v.", least.Spec, least.Annotations)
	}
}

func TestClaimsOfTheFirstBeta(t *testing.T) {
	s := scheme.New()
	claim := &resourcev1.ResourceClaim{Spec: resourcev1.ResourceClaimSpec{Devices: resourcev1.DeviceClaim{Requests: []resourcev1.DeviceRequest{
		{Name: "one", Exactly: &resourcev1.ExactDeviceRequest{DeviceClassName: "gpu", AllocationMode: "ExactCount", Count: 2, AdminAccess: ptr.To(true)}},
		{Name: "any", FirstAvailable: []resourcev1.DeviceSubRequest{{Name: "big", DeviceClassName: "gpu", AllocationMode: "All"}}},
	}}}}
	beta := as(t, s, claim, "resource.k8s.io", "v1beta1").(*resourcev1beta1.ResourceClaim)
	if r := beta.Spec.Devices.Requests; r[0].DeviceClassName != "gpu" || r[0].Count != 2 || !*r[0].AdminAccess || r[1].FirstAvailable[0].Name != "big" {
		t.Errorf("As the beta: %+v.", r)
	}
	if back := as(t, s, beta, "resource.k8s.io", runtime.APIVersionInternal); !apiequality.Semantic.DeepEqual(claim, back) {
		t.Errorf("There and back:\n%s", diff.Diff(claim, back))
	}
	slice := &resourcev1.ResourceSlice{Spec: resourcev1.ResourceSliceSpec{
		Driver: "d.example.com", NodeName: ptr.To("n1"), Pool: resourcev1.ResourcePool{Name: "p", ResourceSliceCount: 1},
		Devices: []resourcev1.Device{{
			Name: "d", Attributes: map[resourcev1.QualifiedName]resourcev1.DeviceAttribute{"a": {StringValue: ptr.To("b")}},
			Capacity: map[resourcev1.QualifiedName]resourcev1.DeviceCapacity{"m": {Value: *quantity("1Gi")}},
		}},
	}}
	old := as(t, s, slice, "resource.k8s.io", "v1beta1").(*resourcev1beta1.ResourceSlice)
	if old.Spec.NodeName != "n1" || *old.Spec.Devices[0].Basic.Attributes["a"].StringValue != "b" {
		t.Errorf("As the beta: %+v.", old.Spec)
	}
	if back := as(t, s, old, "resource.k8s.io", runtime.APIVersionInternal); !apiequality.Semantic.DeepEqual(slice, back) {
		t.Errorf("There and back:\n%s", diff.Diff(slice, back))
	}
	list := as(t, s, &resourcev1beta1.ResourceSliceList{Items: []resourcev1beta1.ResourceSlice{*old}}, "resource.k8s.io", runtime.APIVersionInternal)
	if l := list.(*resourcev1.ResourceSliceList); len(l.Items) != 1 || *l.Items[0].Spec.NodeName != "n1" {
		t.Errorf("As a list: %+v.", l)
	}
}
