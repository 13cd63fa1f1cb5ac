package quota

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// services counts them, their node ports and their load balancers.
type services struct {
	scoped
	list generic.ListFuncByNamespace
}

var _ quota.Evaluator = &services{}

func (*services) GroupResource() schema.GroupResource { return corev1.Resource("services") }

func (*services) Handles(a admission.Attributes) bool {
	return a.GetSubresource() == "" && (a.GetOperation() == admission.Create || a.GetOperation() == admission.Update)
}

func (*services) Constraints([]corev1.ResourceName, runtime.Object) error { return nil }

func (s *services) Matches(q *corev1.ResourceQuota, item runtime.Object) (bool, error) {
	return generic.Matches(q, item, s.MatchingResources, s.in)
}

func (*services) MatchingResources(input []corev1.ResourceName) []corev1.ResourceName {
	return quota.Intersection(input, []corev1.ResourceName{
		"count/services", corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	})
}

func (*services) Usage(item runtime.Object) (corev1.ResourceList, error) {
	s, ok := item.(*corev1.Service)
	if !ok {
		return nil, fmt.Errorf("expect *corev1.Service, got %T", item)
	}
	var ports, balancers int64
	switch s.Spec.Type {
	case corev1.ServiceTypeNodePort:
		ports = int64(len(s.Spec.Ports))
	case corev1.ServiceTypeLoadBalancer:
		balancers = 1
		if s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts {
			ports = int64(len(s.Spec.Ports))
			break
		}
		for i := range s.Spec.Ports {
			if s.Spec.Ports[i].NodePort != 0 {
				ports++
			}
		}
	}
	return corev1.ResourceList{
		"count/services": count(1), corev1.ResourceServices: count(1),
		corev1.ResourceServicesNodePorts: count(ports), corev1.ResourceServicesLoadBalancers: count(balancers),
	}, nil
}

func (s *services) UsageStats(o quota.UsageStatsOptions) (quota.UsageStats, error) {
	return generic.CalculateUsageStats(o, s.list, s.in, s.Usage)
}

func count(n int64) resource.Quantity { return *resource.NewQuantity(n, resource.DecimalSI) }
