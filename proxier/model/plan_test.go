package model_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/proxier/model"
	"github.com/skiffcluster/skiff/proxier/trace"
)

var here = model.Node{Name: "here", Zone: "a"}

func service(change ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.1", []string{"10.96.0.1", "fd00::1"}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	for _, c := range change {
		c(s)
	}
	return s
}

type ep struct {
	ip, node                    string
	ready, serving, terminating *bool
	zones, nodes                []string
}

var yes, no = new(true), new(false)

func slice(port int32, eps ...ep) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	s.Namespace, s.Name = "default", fmt.Sprintf("web-%d", port)
	s.Labels = map[string]string{discoveryv1.LabelServiceName: "web"}
	s.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: &port, Protocol: new(corev1.ProtocolTCP)}}
	for _, e := range eps {
		d := discoveryv1.Endpoint{Addresses: []string{e.ip}}
		if e.node != "" {
			d.NodeName = &e.node
		}
		d.Conditions = discoveryv1.EndpointConditions{Ready: e.ready, Serving: e.serving, Terminating: e.terminating}
		if e.zones != nil || e.nodes != nil {
			d.Hints = &discoveryv1.EndpointHints{}
			for _, z := range e.zones {
				d.Hints.ForZones = append(d.Hints.ForZones, discoveryv1.ForZone{Name: z})
			}
			for _, n := range e.nodes {
				d.Hints.ForNodes = append(d.Hints.ForNodes, discoveryv1.ForNode{Name: n})
			}
		}
		s.Endpoints = append(s.Endpoints, d)
	}
	return s
}

func loadBalancer(s *corev1.Service) {
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.Ports[0].NodePort = 30080
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
}

func externalLocal(s *corev1.Service) {
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
}

func internalLocal(s *corev1.Service) {
	s.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyLocal)
}

func TestWhereAPacketGoes(t *testing.T) {
	toVIP := trace.Packet{From: netip.MustParseAddr("203.0.113.1"), To: netip.MustParseAddrPort("10.96.0.1:80")}
	toLB, toNodePort := toVIP, toVIP
	toLB.To = netip.MustParseAddrPort("192.0.2.1:80")
	toNodePort.To, toNodePort.ToNode = netip.MustParseAddrPort("198.51.100.7:30080"), true
	inside := func(p trace.Packet) trace.Packet { p.Inside = true; return p }
	a, b := ep{ip: "10.0.0.1", node: "here"}, ep{ip: "10.0.0.2", node: "there"}
	with := func(e ep, change func(*ep)) ep { change(&e); return e }
	forward := func(to ...string) trace.Outcome {
		o := trace.Outcome{Verdict: trace.Forward, Service: "default/web"}
		for _, s := range to {
			o.To = append(o.To, netip.MustParseAddrPort(s))
		}
		return o
	}
	refuse := trace.Outcome{Verdict: trace.Refuse, Service: "default/web"}
	drop := trace.Outcome{Verdict: trace.Drop, Service: "default/web"}
	pass := trace.Outcome{Verdict: trace.Pass}

	for _, c := range []struct {
		name   string
		svc    *corev1.Service
		slices []*discoveryv1.EndpointSlice
		packet trace.Packet
		want   trace.Outcome
	}{
		{
			"a cluster IP goes to all ready endpoints, sorted and without duplicates",
			service(), []*discoveryv1.EndpointSlice{slice(8080, b, a), slice(8080, a)}, toVIP,
			forward("10.0.0.1:8080", "10.0.0.2:8080"),
		},
		{
			"slices of one port with different numbers are joined",
			service(), []*discoveryv1.EndpointSlice{slice(8080, a), slice(9090, b)}, toVIP,
			forward("10.0.0.1:8080", "10.0.0.2:9090"),
		},
		{"another port of the address is not the service", service(), nil, func() trace.Packet {
			p := toVIP
			p.To = netip.MustParseAddrPort("10.96.0.1:81")
			return p
		}(), pass},
		{"without endpoints the client is refused", service(), nil, toVIP, refuse},
		{
			"endpoints that are not ready are left out", service(),
			[]*discoveryv1.EndpointSlice{slice(8080, a, with(b, func(e *ep) { e.ready = no }))}, toVIP, forward("10.0.0.1:8080"),
		},
		{
			"an endpoint that is not ready and not serving does not help", service(),
			[]*discoveryv1.EndpointSlice{slice(8080, with(a, func(e *ep) { e.ready, e.serving, e.terminating = no, no, yes }))}, toVIP, refuse,
		},
		{
			"when all are ending, those that still serve go on", service(),
			[]*discoveryv1.EndpointSlice{slice(8080, with(a, func(e *ep) { e.ready, e.serving, e.terminating = no, yes, yes }))}, toVIP,
			forward("10.0.0.1:8080"),
		},
		{
			"ending endpoints are not used while one is ready", service(),
			[]*discoveryv1.EndpointSlice{slice(8080, b, with(a, func(e *ep) { e.ready, e.serving, e.terminating = no, yes, yes }))}, toVIP,
			forward("10.0.0.2:8080"),
		},
		{
			"zone hints keep traffic in the zone", service(),
			[]*discoveryv1.EndpointSlice{slice(8080,
				with(a, func(e *ep) { e.zones = []string{"a"} }), with(b, func(e *ep) { e.zones = []string{"b"} }))}, toVIP,
			forward("10.0.0.1:8080"),
		},
		{
			"zone hints that miss an endpoint are ignored", service(),
			[]*discoveryv1.EndpointSlice{slice(8080, with(a, func(e *ep) { e.zones = []string{"a"} }), b)}, toVIP,
			forward("10.0.0.1:8080", "10.0.0.2:8080"),
		},
		{
			"zone hints without one for this zone are ignored", service(),
			[]*discoveryv1.EndpointSlice{slice(8080,
				with(a, func(e *ep) { e.zones = []string{"c"} }), with(b, func(e *ep) { e.zones = []string{"b"} }))}, toVIP,
			forward("10.0.0.1:8080", "10.0.0.2:8080"),
		},
		{
			"node hints come before zone hints", service(),
			[]*discoveryv1.EndpointSlice{slice(8080,
				with(a, func(e *ep) { e.zones, e.nodes = []string{"a"}, []string{"there"} }),
				with(b, func(e *ep) { e.zones, e.nodes = []string{"b"}, []string{"here"} }))}, toVIP,
			forward("10.0.0.2:8080"),
		},
		{
			"internal policy Local uses the node's own endpoints", service(internalLocal),
			[]*discoveryv1.EndpointSlice{slice(8080, a, b)}, toVIP, forward("10.0.0.1:8080"),
		},
		{
			"internal policy Local with endpoints elsewhere only is silent", service(internalLocal),
			[]*discoveryv1.EndpointSlice{slice(8080, b)}, toVIP, drop,
		},
		{
			"a node port goes to the whole cluster", service(loadBalancer),
			[]*discoveryv1.EndpointSlice{slice(8080, a, b)}, toNodePort, forward("10.0.0.1:8080", "10.0.0.2:8080"),
		},
		{
			"external policy Local uses the node's own endpoints for outsiders", service(loadBalancer, externalLocal),
			[]*discoveryv1.EndpointSlice{slice(8080, a, b)}, toLB, forward("10.0.0.1:8080"),
		},
		{
			"external policy Local serves the node and its pods by the whole cluster", service(loadBalancer, externalLocal),
			[]*discoveryv1.EndpointSlice{slice(8080, a, b)}, inside(toLB), forward("10.0.0.1:8080", "10.0.0.2:8080"),
		},
		{
			"external policy Local uses local ending endpoints before silence", service(loadBalancer, externalLocal),
			[]*discoveryv1.EndpointSlice{slice(8080, b, with(a, func(e *ep) { e.ready, e.serving, e.terminating = no, yes, yes }))}, toNodePort,
			forward("10.0.0.1:8080"),
		},
		{
			"external policy Local does not change the cluster IP", service(loadBalancer, externalLocal),
			[]*discoveryv1.EndpointSlice{slice(8080, a, b)}, toVIP, forward("10.0.0.1:8080", "10.0.0.2:8080"),
		},
		{
			"source ranges keep others out", service(loadBalancer, func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"} }),
			[]*discoveryv1.EndpointSlice{slice(8080, a)}, toLB, drop,
		},
		{
			"source ranges of another family keep everybody out", service(loadBalancer, func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"2001:db8::/32"} }),
			[]*discoveryv1.EndpointSlice{slice(8080, a)}, toLB, drop,
		},
		{
			"source ranges do not bind node ports", service(loadBalancer, func(s *corev1.Service) { s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"} }),
			[]*discoveryv1.EndpointSlice{slice(8080, a)}, toNodePort, forward("10.0.0.1:8080"),
		},
		{
			"a load-balancer address that the balancer itself answers is not ours", service(loadBalancer, func(s *corev1.Service) {
				s.Status.LoadBalancer.Ingress[0].IPMode = new(corev1.LoadBalancerIPModeProxy)
			}),
			[]*discoveryv1.EndpointSlice{slice(8080, a)}, toLB, pass,
		},
		{
			"an external address is the service's", service(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.1"} }),
			[]*discoveryv1.EndpointSlice{slice(8080, a)}, toLB, forward("10.0.0.1:8080"),
		},
		{
			"a service of another proxy is left alone", service(func(s *corev1.Service) {
				s.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "other"}
			}),
			[]*discoveryv1.EndpointSlice{slice(8080, a)}, toVIP, pass,
		},
		{"a headless service is left alone", service(func(s *corev1.Service) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs = "None", []string{"None"}
		}), []*discoveryv1.EndpointSlice{slice(8080, a)}, toVIP, pass},
	} {
		t.Run(c.name, func(t *testing.T) {
			tracker, rules := model.NewTracker(here), trace.New()
			tracker.SetService(c.svc)
			for i, s := range c.slices {
				s.Name = fmt.Sprintf("web-%d", i)
				tracker.SetSlice(s)
			}
			if err := rules.Apply(t.Context(), tracker.Changes()); err != nil {
				t.Fatal(err)
			}
			if got := rules.Send(c.packet); !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func keys(changes []model.Change) []string {
	var out []string
	for _, c := range changes {
		k := c.Key
		if c.Service == nil {
			k = "-" + k
		}
		out = append(out, k)
	}
	return out
}

func named(name string, age time.Duration, change ...func(*corev1.Service)) *corev1.Service {
	s := service(change...)
	s.Name, s.CreationTimestamp = name, metav1.NewTime(time.Unix(1e9, 0).Add(-age))
	return s
}

func TestChangesTouchOnlyWhatChanged(t *testing.T) {
	tracker := model.NewTracker(here)
	expect := func(what string, want ...string) {
		t.Helper()
		if got := keys(tracker.Changes()); !slices.Equal(got, want) {
			t.Errorf("%s: changes %v, want %v", what, got, want)
		}
	}
	other := named("other", 0, func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.2", nil })
	tracker.SetService(service())
	tracker.SetService(other)
	expect("two services", "default/other", "default/web")
	expect("nothing new")
	tracker.SetSlice(slice(8080, ep{ip: "10.0.0.1"}))
	expect("an endpoint came", "default/web")
	tracker.SetSlice(slice(8080, ep{ip: "10.0.0.1"}, ep{ip: "10.0.0.2", ready: no}))
	expect("an endpoint came that is not ready")
	tracker.SetService(service(func(s *corev1.Service) { s.Labels = map[string]string{"team": "a"} }))
	expect("a label changed")
	tracker.SetNode(model.Node{Name: "here", Zone: "b"})
	expect("the node's zone changed and nothing depends on it")
	tracker.DeleteSlice(slice(8080))
	expect("the slice is gone", "default/web")
	tracker.DeleteService("default", "web")
	expect("the service is gone", "-default/web")
	tracker.DeleteService("default", "web")
	expect("it is gone already")
}

func TestOlderServiceKeepsAnAddressThatTwoClaim(t *testing.T) {
	external := func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.1"} }
	young := named("a-young", 0, external, func(s *corev1.Service) { s.Spec.ClusterIP, s.Spec.ClusterIPs = "10.96.0.2", nil })
	old := named("old", time.Hour, external)
	packet := trace.Packet{To: netip.MustParseAddrPort("192.0.2.1:80")}
	tracker, rules := model.NewTracker(here), trace.New()
	owner := func(what, want string) {
		t.Helper()
		if err := rules.Apply(t.Context(), tracker.Changes()); err != nil {
			t.Fatal(err)
		}
		if got := rules.Send(packet).Service; got != want {
			t.Errorf("%s: the address belongs to %q, want %q", what, got, want)
		}
	}
	tracker.SetService(young)
	owner("alone", "default/a-young")
	tracker.SetService(old)
	owner("an older one came", "default/old")
	tracker.DeleteService("default", "old")
	owner("the older one went", "default/a-young")
}

func TestPlanOfBothFamilies(t *testing.T) {
	p := model.Plan(service(loadBalancer, externalLocal, func(s *corev1.Service) {
		s.Spec.HealthCheckNodePort = 32000
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	}), []*discoveryv1.EndpointSlice{slice(8080, ep{ip: "10.0.0.1", node: "here"}, ep{ip: "10.0.0.2", node: "here", ready: no})}, here)
	if len(p.Ports) != 2 || p.Ports[0].Family != corev1.IPv4Protocol || p.Ports[1].Family != corev1.IPv6Protocol {
		t.Fatalf("ports %+v, want one in each family", p.Ports)
	}
	if p.HealthCheck != 32000 || p.LocalReady != 1 {
		t.Errorf("health check %d with %d endpoints, want 32000 with 1", p.HealthCheck, p.LocalReady)
	}
	if got := p.Ports[0].Affinity; got != 3*time.Hour {
		t.Errorf("affinity %v, want the default of 3h", got)
	}
	if len(p.Ports[1].Cluster) != 0 {
		t.Errorf("IPv6 endpoints %v, want none", p.Ports[1].Cluster)
	}
}
