package proxier_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
	"github.com/skiffcluster/skiff/internal/roomtest"
	"github.com/skiffcluster/skiff/proxier"
)

const patience = 20 * time.Second

// host is a network namespace with two servers at addresses of its own.
func host(t *testing.T) string {
	t.Helper()
	path := netnstest.New(t)
	err := netns.Do(path, func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, ip := range []string{"10.0.0.1", "10.0.0.2"} {
			if err := netlink.AddrAdd(lo, &netlink.Addr{IPNet: netlink.NewIPNet(net.ParseIP(ip))}); err != nil {
				return err
			}
			l, err := net.Listen("tcp", ip+":8080")
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = l.Close() })
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					_, _ = fmt.Fprintln(c, ip)
					_ = c.Close()
				}
			}()
		}
		// Packets to service addresses leave by some route, as on any node.
		return netlink.RouteAdd(&netlink.Route{LinkIndex: lo.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}})
	})
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// who returns who answers at addr in the host, or why nobody does.
func who(path, addr string) string {
	answer := ""
	_ = netns.Do(path, func() error {
		c, err := net.DialTimeout("tcp", addr, time.Second)
		if err != nil {
			answer = err.Error()
			return nil
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(time.Second))
		answer, err = bufio.NewReader(c).ReadString('\n')
		if err != nil {
			answer = err.Error()
		}
		return nil
	})
	return strings.TrimSpace(answer)
}

func get(t *testing.T, path, url string) (int, string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
		err = netns.Do(path, func() error {
			c, err = (&net.Dialer{}).DialContext(ctx, network, addr)
			return err
		})
		return c, err
	}}
	r, err := (&http.Client{Transport: transport, Timeout: patience}).Get(url)
	if err != nil {
		return 0, err.Error()
	}
	defer func() { _ = r.Body.Close() }()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

func eventually(t *testing.T, what string, want string, get func() string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	t.Fatalf("%s: %q, want %q", what, got, want)
}

// start runs a proxier until the test or the returned function ends it.
func start(t *testing.T, cfg proxier.Config) (*proxier.Proxier, func()) {
	t.Helper()
	p, err := proxier.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p, roomtest.Run(t, p)
}

func createService(t *testing.T, c client.Client, name, ip string, change ...func(*corev1.Service)) *corev1.Service {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	s.Spec.ClusterIP, s.Spec.ClusterIPs = ip, []string{ip}
	for _, f := range change {
		f(s)
	}
	if err := c.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	return s
}

func endpointSlice(service string, ips ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	s.Name, s.Namespace = service+"-1", "default"
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	s.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(8080))}}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: new("node")})
	}
	return s
}

func TestServicesFollowTheAPI(t *testing.T) {
	t.Run("nftables", func(t *testing.T) { servicesFollowTheAPI(t, proxier.ModeNFTables) })
	t.Run("ipvs", func(t *testing.T) {
		if _, err := os.Stat("/proc/net/ip_vs"); err != nil {
			t.Skip("this kernel has no IPVS; hack/ipvs-kernel/test.sh runs this test in one that has")
		}
		servicesFollowTheAPI(t, proxier.ModeIPVS)
	})
}

func servicesFollowTheAPI(t *testing.T, mode proxier.Mode) {
	path := host(t)
	api := clustertest.APIServer(t)
	c := api.Client()
	if err := c.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node"}}); err != nil {
		t.Fatal(err)
	}
	web := createService(t, c, "web", "10.96.7.1")
	addr := netip.AddrPortFrom(netip.MustParseAddr(web.Spec.ClusterIP), 80).String()
	cfg := proxier.Config{
		REST: api.RESTConfig(), NodeName: "node", Mode: mode, NetNS: path,
		HealthzBindAddress: "127.0.0.1:10256", MetricsBindAddress: "127.0.0.1:10249",
	}
	_, stop := start(t, cfg)
	if got := who(path, addr); !strings.Contains(got, "connection refused") {
		t.Errorf("without endpoints: %s, want connection refused", got)
	}

	eps := endpointSlice("web", "10.0.0.1")
	if err := c.Create(t.Context(), eps); err != nil {
		t.Fatal(err)
	}
	eventually(t, "with an endpoint", "10.0.0.1", func() string { return who(path, addr) })
	eps.Endpoints[0].Addresses[0] = "10.0.0.2"
	if err := c.Update(t.Context(), eps); err != nil {
		t.Fatal(err)
	}
	eventually(t, "with another endpoint", "10.0.0.2", func() string { return who(path, addr) })

	if code, body := get(t, path, "http://127.0.0.1:10256/healthz"); code != http.StatusOK || !json.Valid([]byte(body)) || !strings.Contains(body, `"nodeEligible": true`) {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, body := get(t, path, "http://127.0.0.1:10249/proxyMode"); code != http.StatusOK || body != string(mode) {
		t.Errorf("/proxyMode: %d %s", code, body)
	}
	if code, body := get(t, path, "http://127.0.0.1:10249/metrics"); code != http.StatusOK || !strings.Contains(body, "kubeproxy_sync_proxy_rules_duration_seconds_count") {
		t.Errorf("/metrics: %d %s", code, body)
	}
	for _, name := range []string{
		"kubeproxy_sync_proxy_rules_endpoint_changes_total 2", "kubeproxy_sync_proxy_rules_service_changes_total", `kubeproxy_proxy_healthz_total{code="200"} 1`,
		"kubeproxy_network_programming_duration_seconds_count", `kubeproxy_sync_proxy_rules_no_local_endpoints_total{traffic_policy="external"} 0`,
	} {
		if _, body := get(t, path, "http://127.0.0.1:10249/metrics"); !strings.Contains(body, name) {
			t.Errorf("/metrics has no %s", name)
		}
	}

	// The rules stay when the process goes; a new one finds what changed meanwhile.
	stop()
	if got := who(path, addr); got != "10.0.0.2" {
		t.Errorf("while no proxier runs: %s, want 10.0.0.2", got)
	}
	if err := c.Delete(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	other := createService(t, c, "other", "10.96.7.2")
	if err := c.Create(t.Context(), endpointSlice("other", "10.0.0.1")); err != nil {
		t.Fatal(err)
	}
	_, stop = start(t, cfg)
	if got := who(path, addr); got == "10.0.0.1" || got == "10.0.0.2" {
		t.Errorf("a service deleted meanwhile is answered by %s", got)
	}
	otherAddr := netip.AddrPortFrom(netip.MustParseAddr(other.Spec.ClusterIP), 80).String()
	eventually(t, "a service made meanwhile", "10.0.0.1", func() string { return who(path, otherAddr) })
	stop()
	if err := proxier.Cleanup(path, ""); err != nil {
		t.Fatal(err)
	}
	if got := who(path, otherAddr); got == "10.0.0.1" {
		t.Error("a service is answered after Cleanup")
	}
}

func TestLoadBalancersAreToldOfLocalEndpoints(t *testing.T) {
	path := host(t)
	api := clustertest.APIServer(t)
	createService(t, api.Client(), "web", "10.96.7.1", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeLoadBalancer
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.HealthCheckNodePort = 32111
	})
	start(t, proxier.Config{REST: api.RESTConfig(), NodeName: "node", Mode: proxier.ModeNFTables, NetNS: path})
	if code, body := get(t, path, "http://127.0.0.1:32111/"); code != http.StatusServiceUnavailable || !strings.Contains(body, `"localEndpoints": 0`) {
		t.Errorf("without local endpoints: %d %s", code, body)
	}
	if err := api.Client().Create(t.Context(), endpointSlice("web", "10.0.0.1", "10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "with local endpoints", "200", func() string {
		code, _ := get(t, path, "http://127.0.0.1:32111/")
		return fmt.Sprint(code)
	})
	if _, body := get(t, path, "http://127.0.0.1:32111/"); !strings.Contains(body, `"localEndpoints": 2`) || !strings.Contains(body, `"name": "web"`) {
		t.Errorf("with local endpoints: %s", body)
	}
}

func TestModeIsChosenByTheKernelAndTold(t *testing.T) {
	path := host(t)
	api := clustertest.APIServer(t)
	p, _ := start(t, proxier.Config{REST: api.RESTConfig(), NodeName: "node", NetNS: path})
	if _, err := os.Stat("/proc/net/ip_vs"); err == nil {
		if p.Mode() != proxier.ModeIPVS {
			t.Errorf("mode %s, want ipvs", p.Mode())
		}
		return
	}
	if p.Mode() != proxier.ModeNFTables {
		t.Errorf("mode %s, want nftables", p.Mode())
	}
	eventually(t, "events on the node", "Starting ProxyModeFallback", func() string {
		var list eventsv1.EventList
		if err := api.Client().List(t.Context(), &list, client.InNamespace("default")); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, e := range list.Items {
			if e.Regarding.Kind == "Node" && e.Regarding.Name == "node" {
				got[e.Reason] = true
			}
		}
		var reasons []string
		for _, r := range []string{"Starting", "ProxyModeFallback"} {
			if got[r] {
				reasons = append(reasons, r)
			}
		}
		return strings.Join(reasons, " ")
	})

	forced, err := proxier.New(proxier.Config{REST: api.RESTConfig(), NodeName: "node", NetNS: path, Mode: proxier.ModeIPVS})
	if err != nil {
		t.Fatal(err)
	}
	if err := forced.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "no IPVS") {
		t.Errorf("forced ipvs: %v, want an error that names the lack", err)
	}
}

func TestSimulatedNodesNeedNoKernel(t *testing.T) {
	api := clustertest.APIServer(t)
	createService(t, api.Client(), "web", "10.96.7.1")
	p, stop := start(t, proxier.Config{REST: api.RESTConfig(), NodeName: "node", Mode: proxier.ModeNone})
	if p.Mode() != proxier.ModeNone {
		t.Errorf("mode %s, want none", p.Mode())
	}
	stop()
}

func TestBadConfigurationIsNamed(t *testing.T) {
	good := proxier.Config{REST: &rest.Config{Host: "http://127.0.0.1:1"}, NodeName: "node"}
	for _, c := range []struct {
		name, want string
		change     func(*proxier.Config)
	}{
		{"no way to the API server", "REST is not set", func(c *proxier.Config) { c.REST = nil }},
		{"no node", "NodeName is not set", func(c *proxier.Config) { c.NodeName = "" }},
		{"an unknown mode", `unknown proxy mode "iptables"`, func(c *proxier.Config) { c.Mode = "iptables" }},
		{"an unknown scheduler", `unknown IPVS scheduler "best"`, func(c *proxier.Config) { c.IPVSScheduler = "best" }},
		{"a pod network that is none", `cluster CIDR "10.244.0.0"`, func(c *proxier.Config) { c.ClusterCIDR = "10.244.0.0" }},
		{"a node port network that is none", `node port address "eth0"`, func(c *proxier.Config) { c.NodePortAddresses = []string{"eth0"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			if _, err := proxier.New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want an error with %q", err, c.want)
			}
		})
	}
}

func TestAPortInUseIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	p, err := proxier.New(proxier.Config{
		REST: &rest.Config{Host: "http://127.0.0.1:1"}, NodeName: "node", Mode: proxier.ModeNone, HealthzBindAddress: l.Addr().String(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v, want: address already in use", err)
	}
}

// TestWhatWasAnnouncedIsGivenBack has a process killed that held an address of
// the pool.
func TestWhatWasAnnouncedIsGivenBack(t *testing.T) {
	path := host(t)
	left := func(do func(link netlink.Link) error) (out []string) {
		err := netns.Do(path, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			if err := do(lo); err != nil {
				return err
			}
			all, err := netlink.AddrList(lo, netlink.FAMILY_V4)
			for _, a := range all {
				out = append(out, a.IPNet.String())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	before := left(func(lo netlink.Link) error {
		for _, a := range []string{"198.51.100.7/32", "198.51.100.9/32"} {
			parsed, err := netlink.ParseAddr(a)
			if err == nil {
				err = netlink.AddrAdd(lo, parsed)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err := proxier.Cleanup(path, "198.51.100.0/29"); err != nil {
		t.Fatal(err)
	}
	after := left(func(netlink.Link) error { return nil })
	if !slices.Contains(before, "198.51.100.7/32") || slices.Contains(after, "198.51.100.7/32") || !slices.Contains(after, "198.51.100.9/32") {
		t.Errorf("before %q, after %q", before, after)
	}
	if err := proxier.Cleanup(path, "all of them"); err == nil || !strings.Contains(err.Error(), "all of them") {
		t.Errorf("a pool that is none: %v", err)
	}
}
