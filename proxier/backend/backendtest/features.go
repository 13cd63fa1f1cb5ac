package backendtest

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/proxier/model"
)

// The clients of the matrix: on another machine, the node itself, a pod on it.
const (
	outside = "outside"
	onNode  = "node"
	inPod   = "pod"
)

var clients = []string{outside, onNode, inPod}

// backends are those that run the suite.
var backends = []string{"nftables", "ipvs"}

// feature is a row of the matrix: what works for which clients.
type feature struct {
	name string
	// only are the clients that it is about; all when empty.
	only []string
	run  func(l *lab, from netns.NsHandle)
}

var features = []feature{
	{name: "ClusterIP by TCP and UDP, several named ports, both families", run: clusterIPFrom},
	{name: "ClusterIP by SCTP", run: sctpFrom},
	{name: "NodePort on every address of the node", run: nodePortFrom},
	{name: "externalIPs", run: externalIPFrom},
	{name: "load-balancer address", run: loadBalancerFrom},
	{name: "load-balancer address of ipMode Proxy is left to the load balancer", run: ipModeProxyFrom},
	{name: "load-balancer and external addresses that are the node's own; its other ports stay its", only: []string{outside, inPod}, run: ownAddressFrom},
	{name: "loadBalancerSourceRanges", only: []string{outside, inPod}, run: sourceRangesFrom},
	{name: "sessionAffinity ClientIP", run: affinityFrom},
	{name: "sessionAffinity ends after timeoutSeconds", run: affinityEndsFrom},
	{name: "internalTrafficPolicy Local", run: internalLocalFrom},
	{name: "externalTrafficPolicy Local: inside clients reach every endpoint", only: []string{onNode, inPod}, run: externalLocalInsideFrom},
	{name: "externalTrafficPolicy Local: outside clients reach local endpoints and keep their address", only: []string{outside}, run: externalLocalFrom},
	{name: "publishNotReadyAddresses", run: notReadyFrom},
	{name: "trafficDistribution: hints for this node, then for its zone", run: hintsFrom},
	{name: "terminating endpoints serve when no other does", run: terminatingFrom},
	{name: "no endpoints: refused at once", run: refusedFrom},
	{name: "hairpin: a pod reaches itself", only: []string{inPod}, run: hairpinFrom},
}

// about tells whether the feature has a test for the client.
func (f *feature) about(client string) bool {
	if len(f.only) == 0 {
		return true
	}
	for _, c := range f.only {
		if c == client {
			return true
		}
	}
	return false
}

// Matrix returns the tables of docs/services.md: what the suite tests of each
// backend.
func Matrix() string {
	var b strings.Builder
	b.WriteString("| Feature |")
	for _, be := range backends {
		for _, c := range clients {
			fmt.Fprintf(&b, " %s, %s |", be, c)
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(backends)*len(clients)) + "\n")
	for i := range features {
		f := &features[i]
		fmt.Fprintf(&b, "| %s |", f.name)
		for range backends {
			for _, c := range clients {
				if f.about(c) {
					b.WriteString(" passes |")
				} else {
					b.WriteString(" – |")
				}
			}
		}
		b.WriteString("\n")
	}
	b.WriteString("\n| Behaviour, on both backends | |\n|---|---|\n")
	for _, c := range cases {
		fmt.Fprintf(&b, "| %s | passes |\n", c.name)
	}
	return b.String()
}

func (l *lab) clientNS(name string) netns.NsHandle {
	switch name {
	case onNode:
		return l.node
	case inPod:
		return l.pod[0]
	}
	return l.client
}

func (l *lab) everyEndpoint(from netns.NsHandle, addr string) {
	l.Helper()
	l.expectAll(l.spread(from, "tcp", addr, enough), ":8080", 0, 1, 2)
}

// webWith applies the service with all pods behind it.
func (l *lab) webWith(change func(*corev1.Service)) *corev1.Service {
	s := l.web()
	change(s)
	l.tracker.SetService(s)
	l.endpoints("web", []int{0, 1, 2})
	l.apply()
	return s
}

func clusterIPFrom(l *lab, from netns.NsHandle) {
	l.webWith(func(*corev1.Service) {})
	for _, addr := range []string{vip, "[" + vip6 + "]"} {
		l.everyEndpoint(from, addr+":80")
		l.expectAll(l.spread(from, "tcp", addr+":81", enough), ":8081", 0, 1, 2)
		l.expectAll(l.spread(from, "udp", addr+":53", enough), ":8053", 0, 1, 2)
	}
}

func sctpFrom(l *lab, from netns.NsHandle) {
	l.serveSCTP()
	l.webWith(func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "sctp", Protocol: corev1.ProtocolSCTP, Port: 80, NodePort: 30090}}
		s.Spec.Type = corev1.ServiceTypeNodePort
	})
	for _, addr := range []string{vip + ":80", "[" + vip6 + "]:80", nodeIP + ":30090"} {
		l.expectAll(l.spread(from, "sctp", addr, enough), sctpPort, 0, 1, 2)
	}
}

func nodePortFrom(l *lab, from netns.NsHandle) {
	l.webWith(func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort, s.Spec.Ports[2].NodePort = 30080, 30053
	})
	for _, addr := range []string{nodeIP, bridgeIP, "[" + nodeIP6 + "]", "[" + bridgeIP6 + "]"} {
		l.everyEndpoint(from, addr+":30080")
		l.expectAll(l.spread(from, "udp", addr+":30053", enough), ":8053", 0, 1, 2)
	}
	if from == l.client {
		l.expectSources(bridgeIP, bridgeIP6) // masqueraded: the answer must come back this way
	}
}

func externalIPFrom(l *lab, from netns.NsHandle) {
	l.webWith(func(s *corev1.Service) { s.Spec.ExternalIPs = []string{"192.0.2.9", "2001:db8::9"} })
	l.everyEndpoint(from, "192.0.2.9:80")
	l.everyEndpoint(from, "[2001:db8::9]:80")
}

func loadBalanced(ranges ...string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.LoadBalancerSourceRanges = ranges
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{
			{IP: "192.0.2.5", IPMode: ptr.To(corev1.LoadBalancerIPModeVIP)}, {IP: "2001:db8::5"},
		}
	}
}

func loadBalancerFrom(l *lab, from netns.NsHandle) {
	l.webWith(loadBalanced())
	l.everyEndpoint(from, "192.0.2.5:80")
	l.everyEndpoint(from, "[2001:db8::5]:80")
}

func ipModeProxyFrom(l *lab, from netns.NsHandle) {
	// Somebody else, here the first pod, is the load balancer.
	l.webWith(func(s *corev1.Service) {
		loadBalanced()(s)
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: podIP(1), IPMode: ptr.To(corev1.LoadBalancerIPModeProxy)}}
		s.Spec.Ports[0].Port = 8080
	})
	l.expectAll(l.spread(from, "tcp", podIP(1)+":8080", 20), ":8080", 1)
}

func ownAddressFrom(l *lab, from netns.NsHandle) {
	l.tracker.SetNode(model.Node{Name: nodeName, Zone: zone, Addresses: []netip.Addr{netip.MustParseAddr(nodeIP), netip.MustParseAddr(bridgeIP)}})
	l.in(l.node, func() { l.serve("node") })
	l.webWith(func(s *corev1.Service) {
		loadBalanced()(s)
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: nodeIP, IPMode: ptr.To(corev1.LoadBalancerIPModeProxy)}}
		s.Spec.ExternalIPs = []string{bridgeIP}
	})
	for _, addr := range []string{nodeIP, bridgeIP} {
		l.everyEndpoint(from, addr+":80")
		if got := l.spread(from, "tcp", addr+":8080", 5); got["node:8080"] != 5 {
			l.Errorf("the node's own port was answered by %v", got)
		}
	}
	l.tracker.DeleteService("default", "web")
	l.apply()
	if got := l.spread(from, "tcp", nodeIP+":8080", 5); got["node:8080"] != 5 {
		l.Errorf("after the service went, the node's own port was answered by %v", got)
	}
	l.expectRefused(from, "tcp", nodeIP+":80")
}

func sourceRangesFrom(l *lab, from netns.NsHandle) {
	s := l.webWith(loadBalanced("10.0.0.0/16", "198.51.100.0/24", "fd00::/16"))
	l.everyEndpoint(from, "192.0.2.5:80")
	l.everyEndpoint(from, "[2001:db8::5]:80")
	s = s.DeepCopy()
	s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.0/24"}
	l.tracker.SetService(s)
	l.apply()
	l.expectSilence(from, "tcp", "192.0.2.5:80")
	l.expectSilence(from, "tcp", "[2001:db8::5]:80")
	l.everyEndpoint(from, vip+":80")
}

func affinityFrom(l *lab, from netns.NsHandle) {
	s := l.webWith(func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort = 30080
	})
	for _, addr := range []string{vip + ":80", "[" + vip6 + "]:80", nodeIP + ":30080"} {
		if got := l.spread(from, "tcp", addr, 20); len(got) != 1 {
			l.Errorf("%s: one client was served by %v", addr, got)
		}
	}
	s = s.DeepCopy()
	s.Spec.SessionAffinity = corev1.ServiceAffinityNone
	l.tracker.SetService(s)
	l.apply()
	l.everyEndpoint(from, vip+":80")
}

// affinityEndsFrom asks by UDP, whose entries the backend under test can forget
// before the client's time is up: IPVS keeps a client of which it has any.
func affinityEndsFrom(l *lab, from netns.NsHandle) {
	l.webWith(func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To[int32](2)}}
	})
	if l.shorten != nil {
		l.in(l.node, func() { l.shorten(l) })
	}
	seen := map[string]bool{}
	for end := time.Now().Add(time.Minute); len(seen) < 2 && time.Now().Before(end); {
		s, err := l.get(from, "udp", vip+":53")
		l.must(err)
		seen[s] = true
		<-time.After(2200 * time.Millisecond) // the time-out itself is what is tested
	}
	if len(seen) < 2 {
		l.Errorf("the client stayed with %v", seen)
	}
}

func internalLocalFrom(l *lab, from netns.NsHandle) {
	s := l.webWith(func(s *corev1.Service) {
		s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
	})
	l.endpoints("web", []int{0, 1, 2}, 0, 2)
	l.apply()
	l.expectAll(l.spread(from, "tcp", vip+":80", 20), ":8080", 1)
	l.endpoints("web", []int{0, 2}, 0, 2)
	l.apply()
	if from != l.node { // the node's own packets do not pass where they could be dropped in silence
		l.expectSilence(from, "tcp", vip+":80")
	}
	l.endpoints(s.Name, nil)
	l.apply()
	l.expectRefused(from, "tcp", vip+":80")
}

func externalLocal(s *corev1.Service) {
	loadBalanced()(s)
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	s.Spec.Ports[0].NodePort = 30080
}

func externalLocalFrom(l *lab, from netns.NsHandle) {
	l.webWith(externalLocal)
	l.endpoints("web", []int{0, 1, 2}, 0, 2)
	l.apply()
	for _, addr := range []string{nodeIP + ":30080", "192.0.2.5:80", "[2001:db8::5]:80"} {
		l.expectAll(l.spread(from, "tcp", addr, 20), ":8080", 1)
	}
	l.expectSources(clientIP, clientIP6)
	l.endpoints("web", []int{0, 2}, 0, 2)
	l.apply()
	l.expectSilence(from, "tcp", nodeIP+":30080")
	l.expectSilence(from, "tcp", "192.0.2.5:80")
}

func externalLocalInsideFrom(l *lab, from netns.NsHandle) {
	l.webWith(externalLocal)
	for _, away := range [][]int{{2}, {1, 2}} {
		l.endpoints("web", []int{1, 2}, away...)
		l.apply()
		for _, addr := range []string{nodeIP + ":30080", "192.0.2.5:80", "[2001:db8::5]:80"} {
			l.expectAll(l.spread(from, "tcp", addr, enough), ":8080", 1, 2)
		}
	}
	// Affinity holds here too, until the endpoint goes.
	l.webWith(func(s *corev1.Service) {
		externalLocal(s)
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	})
	l.endpoints("web", []int{1, 2}, 1, 2)
	l.apply()
	for _, addr := range []string{nodeIP + ":30080", "192.0.2.5:80", "[2001:db8::5]:80"} {
		if got := l.spread(from, "tcp", addr, 20); len(got) != 1 {
			l.Errorf("%s: one client was served by %v", addr, got)
		}
	}
	for _, left := range []int{1, 2} {
		l.endpoints("web", []int{left}, 1, 2)
		l.apply()
		l.expectAll(l.spread(from, "tcp", "192.0.2.5:80", 5), ":8080", left)
	}
}

// conditions gives the service one endpoint for each condition; hints likewise.
func (l *lab) endpointsWith(service string, change func(i int, e *discoveryv1.Endpoint)) {
	l.endpoints(service, []int{0, 1, 2})
	l.eachSlice(service, func(s *discoveryv1.EndpointSlice) {
		for i := range s.Endpoints {
			change(i, &s.Endpoints[i])
		}
	})
	l.apply()
}

func notReadyFrom(l *lab, from netns.NsHandle) {
	// What the EndpointSlice controller writes for a pod that is not ready.
	l.webWith(func(s *corev1.Service) { s.Spec.PublishNotReadyAddresses = true })
	l.endpointsWith("web", func(_ int, e *discoveryv1.Endpoint) {
		e.Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(true), Serving: ptr.To(false), Terminating: ptr.To(false)}
	})
	l.everyEndpoint(from, vip+":80")
	l.endpointsWith("web", func(i int, e *discoveryv1.Endpoint) { e.Conditions.Ready = ptr.To(i == 1) })
	l.expectAll(l.spread(from, "tcp", vip+":80", 20), ":8080", 1)
}

func hintsFrom(l *lab, from netns.NsHandle) {
	l.webWith(func(s *corev1.Service) {
		s.Spec.TrafficDistribution = ptr.To(corev1.ServiceTrafficDistributionPreferSameZone)
	})
	l.endpointsWith("web", func(i int, e *discoveryv1.Endpoint) {
		e.Hints = &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: []string{"elsewhere", zone, zone}[i]}}}
	})
	l.expectAll(l.spread(from, "tcp", vip+":80", enough), ":8080", 1, 2)
	l.endpointsWith("web", func(i int, e *discoveryv1.Endpoint) {
		e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: []string{"another", "another", nodeName}[i]}}}
	})
	l.expectAll(l.spread(from, "tcp", vip+":80", 20), ":8080", 2)
	l.endpointsWith("web", func(i int, e *discoveryv1.Endpoint) {
		if i == 0 { // hints that are not complete do not count
			e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: nodeName}}}
		}
	})
	l.everyEndpoint(from, vip+":80")
}

func terminatingFrom(l *lab, from netns.NsHandle) {
	l.webWith(func(*corev1.Service) {})
	ending := discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
	l.endpointsWith("web", func(i int, e *discoveryv1.Endpoint) {
		if i != 0 {
			e.Conditions = ending
		}
	})
	l.expectAll(l.spread(from, "tcp", vip+":80", 20), ":8080", 0)
	l.endpointsWith("web", func(i int, e *discoveryv1.Endpoint) {
		e.Conditions = ending
		e.Conditions.Serving = ptr.To(i != 0)
	})
	l.expectAll(l.spread(from, "tcp", vip+":80", enough), ":8080", 1, 2)
}

func refusedFrom(l *lab, from netns.NsHandle) {
	l.webWith(func(s *corev1.Service) {
		loadBalanced()(s)
		s.Spec.Ports[0].NodePort = 30080
	})
	l.endpoints("web", nil)
	l.apply()
	for _, addr := range []string{vip + ":80", "[" + vip6 + "]:80", nodeIP + ":30080", "192.0.2.5:80"} {
		l.expectRefused(from, "tcp", addr)
	}
	l.expectRefused(from, "udp", vip+":53")
}

func hairpinFrom(l *lab, from netns.NsHandle) {
	l.tracker.SetService(l.web())
	l.endpoints("web", []int{0})
	l.apply()
	l.expectAll(l.spread(from, "tcp", vip+":80", 5), ":8080", 0)
	l.expectAll(l.spread(from, "udp", vip+":53", 5), ":8053", 0)
	l.expectAll(l.spread(from, "tcp", "["+vip6+"]:80", 5), ":8080", 0)
	l.expectSources(bridgeIP, bridgeIP6)
}
