package core_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/kindtest"
)

// service is a valid one after defaults and changes.
func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"},
		Ports:    []corev1.ServicePort{{Port: 80}},
	}}
	s.Name, s.Namespace = "web", "default"
	change(s)
	core.Service.PrepareCreate(s)
	core.Service.Default(s)
	return s
}

func TestServiceDefaults(t *testing.T) {
	s := service(func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
	spec := s.Spec
	if spec.SessionAffinity != "None" || spec.Ports[0].Protocol != "TCP" || spec.Ports[0].TargetPort != intstr.FromInt32(80) ||
		spec.ExternalTrafficPolicy != "Cluster" || *spec.InternalTrafficPolicy != "Cluster" || !*spec.AllocateLoadBalancerNodePorts {
		t.Errorf("%+v", spec)
	}
	sticky := service(func(s *corev1.Service) { s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP })
	if *sticky.Spec.SessionAffinityConfig.ClientIP.TimeoutSeconds != 10800 || sticky.Spec.Type != "ClusterIP" {
		t.Errorf("%+v", sticky.Spec)
	}
}

func TestServiceValidation(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*corev1.Service)
		want   []string
	}{
		{"a plain service is valid", func(*corev1.Service) {}, nil},
		{"ports are required", func(s *corev1.Service) { s.Spec.Ports = nil }, []string{"spec.ports: Required value"}},
		{"a headless service needs no ports", func(s *corev1.Service) { s.Spec.Ports, s.Spec.ClusterIP = nil, "None" }, nil},
		{"a headless service has no node ports", func(s *corev1.Service) { s.Spec.Type, s.Spec.ClusterIP = "NodePort", "None" }, []string{
			`spec.clusterIPs[0]: Invalid value: "None": may not be set to 'None' for NodePort services`,
		}},
		{"an external name is a name", func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports = "ExternalName", nil }, []string{
			"spec.externalName: Required value",
		}},
		{"an external name may end in a dot", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName = "ExternalName", "example.com."
		}, nil},
		{"several ports have names", func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Port: 80}, {Port: 81, Name: "b"}} }, []string{
			"spec.ports[0].name: Required value",
		}},
		{"ports are not given twice", func(s *corev1.Service) {
			s.Spec.Ports = []corev1.ServicePort{{Port: 80, Name: "a"}, {Port: 80, Name: "b"}}
		}, []string{"spec.ports[1]: Duplicate value"}},
		{"ports are in range", func(s *corev1.Service) {
			s.Spec.Ports[0].Port, s.Spec.Ports[0].TargetPort = 70000, intstr.FromString("web")
		}, []string{
			"spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive",
		}},
		{"a cluster IP has no node port", func(s *corev1.Service) { s.Spec.Ports[0].NodePort = 30000 }, []string{
			"spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
		}},
		{"a type is known", func(s *corev1.Service) { s.Spec.Type = "Magic" }, []string{
			`spec.type: Unsupported value: "Magic": supported values: "ClusterIP", "ExternalName", "LoadBalancer", "NodePort"`,
		}},
		{"a cluster IP is an address", func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0" }, []string{
			`spec.clusterIPs[0]: Invalid value: "10.0.0": must be a valid IP address`,
		}},
		{"an address is of its family", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.IPFamilies = "10.0.0.1", []corev1.IPFamily{corev1.IPv6Protocol}
		}, []string{"spec.clusterIPs[0]: Invalid value: \"10.0.0.1\": expected an IPv6 value as indicated by `ipFamilies[0]`"}},
		{"both addresses are not of one family", func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.0.0.1", []string{"10.0.0.1", "10.0.0.2"}
		}, []string{`spec.clusterIPs: Invalid value: ["10.0.0.1","10.0.0.2"]: may specify no more than one IP for each IP family`}},
		{"external addresses are not local", func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"127.0.0.1"} }, []string{
			`spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range (127.0.0.0/8, ::1/128)`,
		}},
		{"clients do not stick for longer than a day", func(s *corev1.Service) {
			s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
			s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](86401)}}
		}, []string{"spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 86401: must be greater than 0 and less than 86400"}},
		{"only reachable services have an external policy", func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = "Local" }, []string{
			`spec.externalTrafficPolicy: Invalid value: "Local": may only be set for externally-accessible services`,
		}},
		{"only load balancers have source ranges", func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"10.0.0.0/8"} }, []string{
			"spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
		}},
		{"source ranges are networks, of the annotation too", func(s *corev1.Service) {
			s.Spec.Type = "LoadBalancer"
			s.Annotations = map[string]string{corev1.AnnotationLoadBalancerSourceRangesKey: "10.0.0.0/8, 11.0.0.1/8"}
		}, []string{`metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: "11.0.0.1/8": must not have bits set beyond the prefix length`}},
		{"each source range", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.LoadBalancerSourceRanges = "LoadBalancer", []string{" 10.0.0.0/8 ", "word"}
		}, []string{`spec.LoadBalancerSourceRanges[1]: Invalid value: "word": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)`}},
		{"traffic is distributed in known ways", func(s *corev1.Service) { s.Spec.TrafficDistribution = ptr.To("Far") }, []string{
			`spec.trafficDistribution: Unsupported value: "Far": supported values: "PreferClose", "PreferSameZone", "PreferSameNode"`,
		}},
		{"load balancers do not open the node agent", func(s *corev1.Service) { s.Spec.Type, s.Spec.Ports[0].Port = "LoadBalancer", 10250 }, []string{
			"spec.ports[0]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := service(c.change)
			kindtest.Errors(t, core.Service.Validate(s), c.want...)
		})
	}
}

func TestServiceUpdateKeepsWhatWasGiven(t *testing.T) {
	old := service(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ClusterIP, s.Spec.Ports[0].NodePort = "NodePort", "10.0.0.1", 30080
	})
	s := service(func(s *corev1.Service) { s.Spec.Type = "NodePort" })
	core.Service.PrepareUpdate(s, old)
	if s.Spec.ClusterIP != "10.0.0.1" || len(s.Spec.ClusterIPs) != 1 || s.Spec.Ports[0].NodePort != 30080 {
		t.Errorf("%+v", s.Spec)
	}
	kindtest.Errors(t, core.Service.ValidateUpdate(s, old))

	plain := old.DeepCopy()
	plain.Spec.Type = "ClusterIP"
	core.Service.PrepareUpdate(plain, old)
	if plain.Spec.Ports[0].NodePort != 0 || plain.Spec.ExternalTrafficPolicy != "" {
		t.Errorf("as ClusterIP: %+v", plain.Spec)
	}
	kindtest.Errors(t, core.Service.Validate(plain))

	named := old.DeepCopy()
	named.Spec.Type, named.Spec.ExternalName = "ExternalName", "example.com"
	core.Service.PrepareUpdate(named, old)
	if named.Spec.ClusterIP != "" || named.Spec.ClusterIPs != nil {
		t.Errorf("as ExternalName: %+v", named.Spec)
	}

	moved := old.DeepCopy()
	moved.Spec.ClusterIP = "10.0.0.2"
	core.Service.PrepareUpdate(moved, old)
	kindtest.Errors(t, core.Service.ValidateUpdate(moved, old), `spec.clusterIPs[0]: Invalid value: ["10.0.0.2"]: may not change once set`)
}

func TestServicesWarnOfWhatIsOld(t *testing.T) {
	s := service(func(s *corev1.Service) {
		s.Annotations = map[string]string{corev1.DeprecatedAnnotationTopologyAwareHints: "Auto"}
		s.Spec.ExternalIPs, s.Spec.TrafficDistribution = []string{"10.0.0.1"}, ptr.To("PreferClose")
	})
	want := []string{
		"annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
		"spec.externalIPs is deprecated and may no longer be implemented in some clusters",
		`spec.trafficDistribution: "PreferClose" is deprecated; use "PreferSameZone"`,
	}
	if got := core.Service.Warnings(s, nil); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

func TestAHealthPortStays(t *testing.T) {
	local := func(port int32) *corev1.Service {
		return service(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalTrafficPolicy, s.Spec.HealthCheckNodePort = "LoadBalancer", "Local", port
		})
	}
	kindtest.Errors(t, core.Service.ValidateUpdate(local(30001), local(30000)), "spec.healthCheckNodePort: Forbidden: field is immutable")
	kindtest.Errors(t, core.Service.ValidateUpdate(local(30000), local(30000)))
}

func TestAnExternalNameHasNoTrafficPolicy(t *testing.T) {
	s := service(func(s *corev1.Service) {
		s.Spec.Type, s.Spec.ExternalName, s.Spec.InternalTrafficPolicy = "ExternalName", "a.b", ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	})
	core.Service.PrepareCreate(s)
	if s.Spec.InternalTrafficPolicy != nil {
		t.Error(*s.Spec.InternalTrafficPolicy)
	}
}

func TestServiceColumns(t *testing.T) {
	k := core.Service.Erase()
	for _, c := range []struct {
		name           string
		change         func(*corev1.Service)
		ip, ext, ports string
	}{
		{"a cluster IP", func(s *corev1.Service) { s.Spec.ClusterIP = "10.0.0.1" }, "10.0.0.1", "<none>", "80/TCP"},
		{"a node port", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Ports[0].NodePort, s.Spec.ExternalIPs = "NodePort", 30080, []string{"192.0.2.1"}
		}, "<none>", "192.0.2.1", "80:30080/TCP"},
		{"a load balancer without an address", func(s *corev1.Service) { s.Spec.Type = "LoadBalancer" }, "<none>", "<pending>", "80/TCP"},
		{"a load balancer with addresses", func(s *corev1.Service) {
			s.Spec.Type = "LoadBalancer"
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.9"}, {Hostname: "lb.example.com"}}
		}, "<none>", "192.0.2.9,lb.example.com", "80/TCP"},
		{"an external name", func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalName, s.Spec.Ports = "ExternalName", "example.com", nil
		}, "<none>", "example.com", "<none>"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cells := k.Cells(service(c.change))
			if cells[2] != c.ip || cells[3] != c.ext || cells[4] != c.ports {
				t.Errorf("%v", cells)
			}
		})
	}
}
