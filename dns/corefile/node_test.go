package corefile_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/dns/corefile"
	"github.com/skiffcluster/skiff/dns/kubernetes"
	"github.com/skiffcluster/skiff/dns/records"
)

// start serves a handler by UDP and TCP on one port of loopback.
func start(t testing.TB, h dns.Handler) string {
	t.Helper()
	var l net.Listener
	var pc net.PacketConn
	for try := 0; ; try++ {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if pc, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		_ = l.Close()
		if try == 20 {
			t.Fatal(err)
		}
	}
	for _, s := range []*dns.Server{{Listener: l, Handler: h}, {PacketConn: pc, Handler: h}} {
		up, down := make(chan struct{}), make(chan struct{})
		s.NotifyStartedFunc = func() { close(up) }
		go func() {
			defer close(down)
			_ = s.ActivateAndServe()
		}()
		<-up
		t.Cleanup(func() {
			_ = s.Shutdown()
			<-down
		})
	}
	return l.Addr().String()
}

// upstream counts queries and answers each name with a fixed address.
type upstream struct {
	addr    string
	queries atomic.Int32
	silent  atomic.Bool
}

func newUpstream(t *testing.T, ip string) *upstream {
	u := &upstream{}
	u.addr = start(t, dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		u.queries.Add(1)
		if u.silent.Load() {
			return
		}
		m := new(dns.Msg).SetReply(r)
		q := r.Question[0]
		_, udp := w.RemoteAddr().(*net.UDPAddr)
		udp = udp && r.IsEdns0() == nil
		switch {
		case strings.HasPrefix(q.Name, "missing."):
			m.Rcode = dns.RcodeNameError
			m.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.com.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 60}, Ns: ".", Mbox: ".", Minttl: 60}}
		case strings.HasPrefix(q.Name, "broken."):
			m.Rcode = dns.RcodeServerFailure
		case strings.HasPrefix(q.Name, "big.") && udp:
			m.Truncated = true
		default:
			n := 1
			if strings.HasPrefix(q.Name, "big.") {
				n = 60
			}
			for i := range n {
				a := net.ParseIP(ip).To4()
				a[3] += byte(i)
				m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 600}, A: a})
			}
		}
		_ = w.WriteMsg(m)
	}))
	return u
}

// plain is kubeadm's Corefile with these upstream servers.
func plain(upstreams ...string) string {
	if len(upstreams) == 0 {
		upstreams = []string{"/etc/resolv.conf"} // names none here
	}
	return `.:53 {
 kubernetes cluster.local in-addr.arpa ip6.arpa {
  ttl 30
  fallthrough in-addr.arpa ip6.arpa
 }
 cache 30
 forward . ` + strings.Join(upstreams, " ") + `
}`
}

// node is one without upstream servers whose zone has some services.
func node(synced bool) corefile.Node {
	z := records.NewZone(netip.MustParseAddr("127.0.0.1"))
	z.SetNamespace("default", nil)
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	s.Spec.ClusterIP = "10.96.0.1"
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	z.SetService(s)
	for name, target := range map[string]string{"ext": "www.example.com", "near": "web.default.svc.cluster.local", "loop": "loop.default.svc.cluster.local"} {
		a := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
		a.Spec.Type, a.Spec.ExternalName = corev1.ServiceTypeExternalName, target
		z.SetService(a)
	}
	many := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "many", Namespace: "default"}}
	many.Spec.ClusterIP = "None"
	z.SetService(many)
	eps := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Name: "many-1", Namespace: "default", Labels: map[string]string{discoveryv1.LabelServiceName: "many"}}}
	for i := range 100 {
		eps.Endpoints = append(eps.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.1.%d", i)}})
	}
	z.SetSlice(eps)
	client := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "client", Namespace: "default"}}
	client.Status.PodIPs = []corev1.PodIP{{IP: "127.0.0.1"}}
	z.SetPod(client)
	isSynced := func() bool { return synced }
	return corefile.Node{
		Names:   kubernetes.Source{Zone: z, Synced: isSynced, PodsSynced: isSynced, Search: func() []string { return []string{"example.com."} }},
		Servers: func(string) ([]string, error) { return nil, nil },
		Skip:    func(string) bool { return false },
	}
}

func load(t testing.TB, text string, n corefile.Node) *corefile.Chain {
	t.Helper()
	c, err := corefile.Load(text, n)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve answers by a Corefile and returns where.
func serve(t testing.TB, text string, n corefile.Node) string {
	t.Helper()
	c := load(t, text, n)
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return start(t, handler(t, c))
}

func handler(t testing.TB, c *corefile.Chain) dns.HandlerFunc {
	ctx := t.Context()
	return func(w dns.ResponseWriter, req *dns.Msg) {
		if !c.ServeDNS(ctx, w, req) {
			t.Error("a query after the end")
		}
	}
}

func ask(t *testing.T, network, addr, name string, qtype uint16, change ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(name, qtype)
	for _, c := range change {
		c(m)
	}
	r, _, err := (&dns.Client{Net: network, Timeout: 10 * time.Second, UDPSize: dns.MaxMsgSize}).Exchange(m, addr)
	if err != nil {
		t.Fatalf("%s %s: %v", network, name, err)
	}
	return r
}

func addresses(m *dns.Msg) []string {
	var out []string
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.CNAME:
			out = append(out, rr.Target)
		}
	}
	return out
}
