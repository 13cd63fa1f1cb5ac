package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// affinitySeconds is how long a client sticks to an endpoint by default.
const affinitySeconds = 10800

// Service is one address for the pods behind it. Cluster IPs and node ports
// are given out by the server, before validation.
var Service = api.Of[corev1.Service]{
	Group: corev1.GroupName, Version: "v1", Kind: "Service", Resource: "services",
	ReturnDeleted:  true,
	ShortNames:     []string{"svc"},
	Categories:     []string{"all"},
	CreateOnUpdate: true,

	NameValidation: apivalidation.NameIsDNSLabel,
	Default:        defaultService,
	PrepareCreate: func(s *corev1.Service) {
		normalizeClusterIPs(s)
		dropInternalPolicy(s)
	},
	PrepareUpdate:  prepareServiceUpdate,
	Validate:       validateService,
	ValidateUpdate: validateServiceUpdate,
	ChangeFirst:    true,
	Warnings:       warnService,

	Status: &api.Status[corev1.Service]{Validate: validateServiceStatus},

	Fields: func(s *corev1.Service) fields.Set {
		return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
	},
	Columns: []api.Column[corev1.Service]{
		print.Name[corev1.Service](),
		{
			Name: "Type", Description: corev1.ServiceSpec{}.SwaggerDoc()["type"],
			Value: func(s *corev1.Service) any { return string(s.Spec.Type) },
		},
		{
			Name: "Cluster-IP", Description: corev1.ServiceSpec{}.SwaggerDoc()["clusterIP"],
			Value: func(s *corev1.Service) any {
				if len(s.Spec.ClusterIPs) > 0 {
					return s.Spec.ClusterIPs[0]
				}
				return print.None
			},
		},
		{
			Name: "External-IP", Description: corev1.ServiceSpec{}.SwaggerDoc()["externalIPs"],
			Value: func(s *corev1.Service) any { return externalAddress(s) },
		},
		{
			Name: "Port(s)", Description: corev1.ServiceSpec{}.SwaggerDoc()["ports"],
			Value: func(s *corev1.Service) any { return servicePorts(s.Spec.Ports) },
		},
		print.Age[corev1.Service](),
		{
			Name: "Selector", Priority: 1, Description: corev1.ServiceSpec{}.SwaggerDoc()["selector"],
			Value: func(s *corev1.Service) any { return labels.FormatLabels(s.Spec.Selector) },
		},
	},
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	if spec.SessionAffinity == "" {
		spec.SessionAffinity = corev1.ServiceAffinityNone
	}
	switch spec.SessionAffinity {
	case corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case corev1.ServiceAffinityClientIP:
		if c := spec.SessionAffinityConfig; c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil {
			spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{
				ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](affinitySeconds)},
			}
		}
	}
	if spec.Type == "" {
		spec.Type = corev1.ServiceTypeClusterIP
	}
	for i := range spec.Ports {
		port := &spec.Ports[i]
		if port.Protocol == "" {
			port.Protocol = corev1.ProtocolTCP
		}
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	if reachableFromOutside(s) && spec.ExternalTrafficPolicy == "" {
		spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyCluster
	}
	if spec.InternalTrafficPolicy == nil && usesTrafficPolicy(s) {
		spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	if spec.AllocateLoadBalancerNodePorts == nil {
		spec.AllocateLoadBalancerNodePorts = ptr.To(true)
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if in := &s.Status.LoadBalancer.Ingress[i]; in.IP != "" && in.IPMode == nil {
			in.IPMode = ptr.To(corev1.LoadBalancerIPModeVIP)
		}
	}
}

// reachableFromOutside tells services that traffic can enter the cluster by.
func reachableFromOutside(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(s.Spec.ExternalIPs) > 0
	}
	return false
}

// usesTrafficPolicy tells services that have endpoints to route to.
func usesTrafficPolicy(s *corev1.Service) bool {
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return true
	}
	return false
}

// externalAddress is what clients outside of the cluster use.
func externalAddress(s *corev1.Service) string {
	external := s.Spec.ExternalIPs
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return print.OrNone(strings.Join(external, ","))
	case corev1.ServiceTypeLoadBalancer:
		var given []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			if in.IP != "" {
				given = append(given, in.IP)
			} else if in.Hostname != "" {
				given = append(given, in.Hostname)
			}
		}
		slices.Sort(given)
		if all := append(slices.Compact(given), external...); len(all) > 0 {
			return strings.Join(all, ",")
		}
		return "<pending>"
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	}
	return print.Unknown
}

// servicePorts prints ports: "80/TCP,443:30443/TCP".
func servicePorts(ports []corev1.ServicePort) string {
	parts := make([]string, len(ports))
	for i, p := range ports {
		parts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			parts[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return print.OrNone(strings.Join(parts, ","))
}
