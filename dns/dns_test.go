package dns_test

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/dns"
	"github.com/skiffcluster/skiff/internal/netns"
	"github.com/skiffcluster/skiff/internal/netns/netnstest"
)

const patience = 20 * time.Second

func start(t *testing.T, cfg dns.Config) (*dns.Server, func()) {
	t.Helper()
	s, err := dns.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	stop := func() {
		if !ended {
			ended = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	select {
	case <-s.Ready():
	case err := <-done:
		ended = true
		t.Fatalf("Run ended: %v", err)
	case <-time.After(patience):
		t.Fatal("not ready")
	}
	return s, stop
}

// lookup returns the addresses of a name, or the response code.
func lookup(netNS, network, server, name string) string {
	var conn net.Conn
	err := netns.Do(netNS, func() (err error) {
		conn, err = net.DialTimeout(network, server, 5*time.Second)
		return err
	})
	if err != nil {
		return err.Error()
	}
	defer func() { _ = conn.Close() }()
	r, _, err := (&miekg.Client{Net: network, Timeout: 5 * time.Second}).
		ExchangeWithConn(new(miekg.Msg).SetQuestion(name, miekg.TypeA), &miekg.Conn{Conn: conn})
	if err != nil {
		return err.Error()
	}
	if len(r.Answer) == 0 {
		return miekg.RcodeToString[r.Rcode]
	}
	var out []string
	for _, rr := range r.Answer {
		if a, ok := rr.(*miekg.A); ok {
			out = append(out, a.A.String())
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func eventually(t *testing.T, what, want string, get func() string) {
	t.Helper()
	got := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if got = get(); got == want {
			return
		}
	}
	t.Fatalf("%s: %q, want %q", what, got, want)
}

func TestNamesFollowTheAPI(t *testing.T) {
	api := clustertest.APIServer(t)
	c := api.Client()
	web := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	web.Spec.ClusterIP, web.Spec.ClusterIPs = "10.96.7.1", []string{"10.96.7.1"}
	web.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80}}
	db := web.DeepCopy()
	db.Name, db.Spec.ClusterIP, db.Spec.ClusterIPs = "db", "None", []string{"None"}
	for _, s := range []*corev1.Service{web, db} {
		if err := c.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	s, stop := start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{"127.0.0.1:0"}, Upstreams: []string{}})
	addr := s.Addresses()[0]
	for _, network := range []string{"udp", "tcp"} {
		if got := lookup("", network, addr, "web.default.svc.cluster.local."); got != "10.96.7.1" {
			t.Errorf("a service by %s: %s", network, got)
		}
	}
	const name = "db.default.svc.cluster.local."
	if got := lookup("", "udp", addr, name); got != "NXDOMAIN" {
		t.Errorf("a headless service without endpoints: %s, want NXDOMAIN", got)
	}
	eps := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
	eps.Name, eps.Namespace = "db-1", "default"
	eps.Labels = map[string]string{discoveryv1.LabelServiceName: "db"}
	eps.Ports = []discoveryv1.EndpointPort{{Name: new("http"), Port: new(int32(80))}}
	eps.Endpoints = []discoveryv1.Endpoint{{Addresses: []string{"10.244.0.1"}, Hostname: new("db-0")}}
	if err := c.Create(t.Context(), eps); err != nil {
		t.Fatal(err)
	}
	eventually(t, "with an endpoint", "10.244.0.1", func() string { return lookup("", "udp", addr, name) })
	eventually(t, "the endpoint by name", "10.244.0.1", func() string { return lookup("", "udp", addr, "db-0."+name) })
	if err := c.Delete(t.Context(), web); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a deleted service", "NXDOMAIN", func() string { return lookup("", "udp", addr, "web.default.svc.cluster.local.") })

	api.Stop()
	if got := lookup("", "udp", addr, name); got != "10.244.0.1" {
		t.Errorf("while the API server is away: %s, want 10.244.0.1", got)
	}
	stop()
	if l, err := net.Listen("tcp", addr); err != nil {
		t.Errorf("the port is still taken: %v", err)
	} else {
		_ = l.Close()
	}
}

func TestForwardingWorksBeforeTheAPIDoes(t *testing.T) {
	api := clustertest.APIServer(t)
	upstream, _ := start(t, dns.Config{
		REST: api.RESTConfig(), ListenAddresses: []string{"127.0.0.1:0"}, ClusterDomain: "upstream.test", Upstreams: []string{},
	})
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	host, port, _ := net.SplitHostPort(upstream.Addresses()[0])
	if err := os.WriteFile(conf, []byte("nameserver "+host+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := dns.New(dns.Config{
		REST: &rest.Config{Host: "http://127.0.0.1:1"}, ListenAddresses: []string{"127.0.0.1:0"},
		Upstreams: []string{net.JoinHostPort(host, port)}, ResolvConf: conf,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	eventually(t, "a name outside", "NXDOMAIN", func() string {
		a := s.Addresses()
		if len(a) == 0 {
			return "not listening"
		}
		return lookup("", "udp", a[0], "nobody.upstream.test.")
	})
	if got := lookup("", "udp", s.Addresses()[0], "web.default.svc.cluster.local."); got != "SERVFAIL" {
		t.Errorf("a service: %s, want SERVFAIL", got)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestTheClusterAddressAnswersOnTheNode(t *testing.T) {
	path := netnstest.New(t)
	api := clustertest.APIServer(t)
	release, err := dns.BindAddress(path, netip.MustParseAddr("10.96.0.10"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := dns.BindAddress(path, netip.MustParseAddr("10.96.0.10"))
	if err != nil {
		t.Fatalf("bound already: %v", err)
	}
	_, stop := start(t, dns.Config{REST: api.RESTConfig(), ListenAddresses: []string{"10.96.0.10:53"}, Upstreams: []string{}, NetNS: path})
	for _, network := range []string{"udp", "tcp"} {
		if got := lookup(path, network, "10.96.0.10:53", "nobody.default.svc.cluster.local."); got != "NXDOMAIN" {
			t.Errorf("by %s: %s, want NXDOMAIN", network, got)
		}
	}
	stop()
	for _, f := range []func() error{release, again} {
		if err := f(); err != nil {
			t.Error(err)
		}
	}
	err = netns.Do(path, func() error {
		list, err := netlink.AddrList(nil, netlink.FAMILY_V4)
		for _, a := range list {
			if a.IP.String() == "10.96.0.10" {
				t.Errorf("the address is still on link %d", a.LinkIndex)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestBadConfigurationIsNamed(t *testing.T) {
	good := dns.Config{REST: &rest.Config{Host: "http://127.0.0.1:1"}, ListenAddresses: []string{"127.0.0.1:0"}}
	for _, c := range []struct {
		name, want string
		change     func(*dns.Config)
	}{
		{"no way to the API server", "REST is not set", func(c *dns.Config) { c.REST = nil }},
		{"nowhere to listen", "ListenAddresses is empty", func(c *dns.Config) { c.ListenAddresses = nil }},
		{"a listen address without port", `listen address "10.96.0.10"`, func(c *dns.Config) { c.ListenAddresses = []string{"10.96.0.10"} }},
		{"an upstream that is no address", `upstream "dns.example.com"`, func(c *dns.Config) { c.Upstreams = []string{"dns.example.com"} }},
		{"a domain that is none", "is no domain name", func(c *dns.Config) { c.ClusterDomain = strings.Repeat("a", 64) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := good
			c.change(&cfg)
			if _, err := dns.New(cfg); err == nil || !strings.Contains(err.Error(), c.want) {
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
	s, err := dns.New(dns.Config{REST: &rest.Config{Host: "http://127.0.0.1:1"}, ListenAddresses: []string{l.Addr().String()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v, want: address already in use", err)
	}
}
