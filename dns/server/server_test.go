package server_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/skiffcluster/skiff/dns/corefile"
	"github.com/skiffcluster/skiff/dns/records"
	"github.com/skiffcluster/skiff/dns/server"
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
}

func newUpstream(t *testing.T, ip string) *upstream {
	u := &upstream{}
	u.addr = start(t, dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		u.queries.Add(1)
		m := new(dns.Msg).SetReply(r)
		q := r.Question[0]
		_, udp := w.RemoteAddr().(*net.UDPAddr)
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

// plain is a Corefile that forwards to these servers.
func plain(upstreams ...string) string {
	text := ". {\n kubernetes cluster.local in-addr.arpa ip6.arpa {\n ttl 30\n }\n cache 30\n"
	if len(upstreams) > 0 {
		text += " forward . " + strings.Join(upstreams, " ") + "\n"
	}
	return text + "}"
}

func routes(t testing.TB, text string) *server.Routes {
	t.Helper()
	c, err := corefile.Parse(text, "cluster.local", func(string) ([]byte, error) { return nil, os.ErrNotExist })
	if err != nil {
		t.Fatal(err)
	}
	r, err := server.NewRoutes(c, "", server.NewMetrics(prometheus.NewRegistry()), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// newServer serves a zone with some services, forwarding to these servers.
func newServer(t *testing.T, synced bool, upstreams ...string) string {
	t.Helper()
	z := records.NewZone("cluster.local", netip.MustParseAddr("127.0.0.1"))
	z.SetNamespace("default")
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	s.Spec.ClusterIP = "10.96.0.1"
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
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	h := &server.Server{Zone: z, Synced: func() bool { return synced }, Context: ctx}
	h.Use(routes(t, plain(upstreams...)))
	addr := start(t, h)
	return addr
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

func TestAQueryIsAnswered(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	addr := newServer(t, true, up.addr)
	for _, c := range []struct {
		name, qname   string
		rcode         int
		want          []string
		authoritative bool
	}{
		{"a service", "web.default.svc.cluster.local.", dns.RcodeSuccess, []string{"10.96.0.1"}, true},
		{"a service that does not exist", "x.default.svc.cluster.local.", dns.RcodeNameError, nil, true},
		{"a name outside", "www.example.com.", dns.RcodeSuccess, []string{"192.0.2.1"}, false},
		{"a name outside that does not exist", "missing.example.com.", dns.RcodeNameError, nil, false},
		{"an upstream failure is passed on", "broken.example.com.", dns.RcodeServerFailure, nil, false},
		{"an alias to a name outside", "ext.default.svc.cluster.local.", dns.RcodeSuccess, []string{"www.example.com.", "192.0.2.1"}, true},
		{"an alias to a service", "near.default.svc.cluster.local.", dns.RcodeSuccess, []string{"web.default.svc.cluster.local.", "10.96.0.1"}, true},
		{"a reverse name that is not ours", "1.2.0.192.in-addr.arpa.", dns.RcodeSuccess, []string{"192.0.2.1"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, network := range []string{"udp", "tcp"} {
				r := ask(t, network, addr, c.qname, dns.TypeA)
				if r.Rcode != c.rcode || !slices.Equal(addresses(r), c.want) || r.Authoritative != c.authoritative || !r.RecursionAvailable {
					t.Errorf("%s: %v, want %s %v", network, r, dns.RcodeToString[c.rcode], c.want)
				}
			}
		})
	}
}

func TestAliasesThatGoInCirclesEnd(t *testing.T) {
	addr := newServer(t, true)
	r := ask(t, "tcp", addr, "loop.default.svc.cluster.local.", dns.TypeA)
	if len(r.Answer) == 0 || len(r.Answer) > 10 {
		t.Errorf("%d records, want a few", len(r.Answer))
	}
}

func TestBadQueriesAreRefusedAsTheyDeserve(t *testing.T) {
	addr := newServer(t, true)
	for _, c := range []struct {
		name   string
		want   int
		change func(*dns.Msg)
	}{
		{"two questions", dns.RcodeFormatError, func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }},
		{"no question", dns.RcodeFormatError, func(m *dns.Msg) { m.Question = nil }},
		{"an update", dns.RcodeNotImplemented, func(m *dns.Msg) { m.Opcode = dns.OpcodeUpdate }},
		{"another class", dns.RcodeRefused, func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }},
		{"a zone transfer", dns.RcodeRefused, func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAXFR }},
		{"a newer EDNS", dns.RcodeBadVers, func(m *dns.Msg) { m.SetEdns0(1232, false); m.IsEdns0().SetVersion(1) }},
		{"a name outside without upstream servers", dns.RcodeRefused, func(m *dns.Msg) { m.Question[0].Name = "www.example.com." }},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
			c.change(m)
			conn, err := dns.Dial("udp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			if err := conn.WriteMsg(m); err != nil {
				t.Fatal(err)
			}
			r, err := conn.ReadMsg()
			if err != nil {
				t.Fatal(err)
			}
			if r.Rcode != c.want || r.Id != m.Id {
				t.Errorf("%s, want %s", dns.RcodeToString[r.Rcode], dns.RcodeToString[c.want])
			}
		})
	}
}

func TestAnswersFitTheClient(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	addr := newServer(t, true, up.addr)
	edns := func(size uint16) func(*dns.Msg) { return func(m *dns.Msg) { m.SetEdns0(size, false) } }
	for _, name := range []string{"many.default.svc.cluster.local.", "big.example.com."} {
		r := ask(t, "udp", addr, name, dns.TypeA)
		r.Compress = true
		if r.Len() > 512 || !r.Truncated || r.IsEdns0() != nil {
			t.Errorf("%s without EDNS: %d bytes, truncated %v", name, r.Len(), r.Truncated)
		}
		whole := ask(t, "tcp", addr, name, dns.TypeA)
		if whole.Truncated || len(whole.Answer) < 60 {
			t.Errorf("%s by TCP: %d records, truncated %v", name, len(whole.Answer), whole.Truncated)
		}
		r = ask(t, "udp", addr, name, dns.TypeA, edns(4096))
		if r.Truncated || len(r.Answer) != len(whole.Answer) || r.IsEdns0() == nil {
			t.Errorf("%s with EDNS: %d records, truncated %v", name, len(r.Answer), r.Truncated)
		}
	}
}

func TestAnotherUpstreamIsAskedWhenOneIsSilent(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0") // nobody reads
	if err != nil {
		t.Fatal(err)
	}
	closed := silent.LocalAddr().String()
	_ = silent.Close()
	up := newUpstream(t, "192.0.2.1")
	addr := newServer(t, true, closed, up.addr)
	for i := range 10 {
		name := fmt.Sprintf("n%d.example.com.", i)
		if r := ask(t, "udp", addr, name, dns.TypeA); !slices.Equal(addresses(r), []string{"192.0.2.1"}) {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := ask(t, "udp", newServer(t, true, closed), "www.example.com.", dns.TypeA); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("with dead servers only: %s, want SERVFAIL", dns.RcodeToString[r.Rcode])
	}
}

func TestUpstreamAnswersAreKept(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	addr := newServer(t, true, up.addr)
	for _, name := range []string{"www.example.com.", "missing.example.com."} {
		before := up.queries.Load()
		for range 5 {
			ask(t, "udp", addr, name, dns.TypeA)
		}
		if n := up.queries.Load() - before; n != 1 {
			t.Errorf("%s: upstream was asked %d times, want once", name, n)
		}
	}
	if ttl := ask(t, "udp", addr, "WWW.example.com.", dns.TypeA).Answer[0].Header().Ttl; ttl > 30 {
		t.Errorf("TTL %d of a kept answer, want at most 30", ttl)
	}
	before := up.queries.Load()
	for range 3 {
		ask(t, "udp", addr, "broken.example.com.", dns.TypeA)
	}
	if n := up.queries.Load() - before; n != 3 {
		t.Errorf("a failure: upstream was asked %d times, want each time", n)
	}
}

func TestClusterNamesWaitForTheAPI(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	addr := newServer(t, false, up.addr)
	if r := ask(t, "udp", addr, "web.default.svc.cluster.local.", dns.TypeA); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("a service: %s, want SERVFAIL", dns.RcodeToString[r.Rcode])
	}
	if r := ask(t, "udp", addr, "www.example.com.", dns.TypeA); r.Rcode != dns.RcodeSuccess {
		t.Errorf("a name outside: %s, want an answer", dns.RcodeToString[r.Rcode])
	}
}

func TestAnUpstreamThatAsksUsIsNotUsed(t *testing.T) {
	z := records.NewZone("cluster.local")
	var us atomic.Value
	queries := atomic.Int32{}
	circle := start(t, dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		queries.Add(1)
		answer, _, err := (&dns.Client{Timeout: time.Second}).Exchange(r, us.Load().(string))
		if err != nil {
			answer = new(dns.Msg).SetRcode(r, dns.RcodeServerFailure)
		}
		_ = w.WriteMsg(answer)
	}))
	up := newUpstream(t, "192.0.2.1")
	f := routes(t, plain(circle, up.addr))
	h := &server.Server{Zone: z, Synced: func() bool { return true }, Context: t.Context()}
	h.Use(f)
	us.Store(start(t, h))
	f.FindLoops(t.Context())
	before := queries.Load()
	for i := range 10 {
		ask(t, "udp", us.Load().(string), fmt.Sprintf("n%d.example.com.", i), dns.TypeA)
	}
	if n := queries.Load() - before; n != 0 {
		t.Errorf("the server that asks us was asked %d times", n)
	}
}

// zoneServer is a server with one service that forwards to nobody.
func zoneServer(t testing.TB) *server.Server {
	z := records.NewZone("cluster.local", netip.MustParseAddr("127.0.0.1"))
	z.SetNamespace("default")
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}}
	s.Spec.ClusterIP = "10.96.0.1"
	s.Spec.Ports = []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}}
	z.SetService(s)
	a := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "ext", Namespace: "default"}}
	a.Spec.Type, a.Spec.ExternalName = corev1.ServiceTypeExternalName, "web.default.svc.cluster.local"
	z.SetService(a)
	h := &server.Server{Zone: z, Synced: func() bool { return true }, Context: t.Context()}
	h.Use(routes(t, `. {
		hosts {
			192.0.2.1 host.test
			fallthrough
		}
		rewrite name suffix .old .default.svc.cluster.local
		kubernetes cluster.local in-addr.arpa ip6.arpa
	}`))
	return h
}

// written is a client that keeps the answer's bytes.
type written struct {
	dns.ResponseWriter
	addr   net.Addr
	answer []byte
	err    error
}

func (w *written) RemoteAddr() net.Addr { return w.addr }

func (w *written) WriteMsg(m *dns.Msg) error {
	w.answer, w.err = m.Pack()
	return w.err
}

func FuzzAnswersCanBeSent(f *testing.F) {
	for _, name := range []string{"web.default.svc.cluster.local.", "ext.default.svc.cluster.local.", "web.old.", "host.test.", "1.0.96.10.in-addr.arpa.", "_http._tcp.web.default.svc.cluster.local."} {
		for _, qtype := range []uint16{dns.TypeA, dns.TypeSRV, dns.TypePTR, dns.TypeANY} {
			b, err := new(dns.Msg).SetQuestion(name, qtype).Pack()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b, true)
		}
	}
	h := zoneServer(f)
	f.Fuzz(func(t *testing.T, query []byte, udp bool) {
		req := new(dns.Msg)
		if req.Unpack(query) != nil || req.Response {
			return
		}
		w := &written{addr: &net.TCPAddr{}}
		if udp {
			w.addr = &net.UDPAddr{}
		}
		h.ServeDNS(w, req)
		if w.err != nil {
			t.Fatalf("answer cannot be sent: %v", w.err)
		}
		reply := new(dns.Msg)
		if err := reply.Unpack(w.answer); err != nil {
			t.Fatalf("answer cannot be read: %v", err)
		}
		if reply.Id != req.Id || !reply.Response {
			t.Errorf("an answer to another query")
		}
		if size := 512; udp && req.IsEdns0() == nil && len(w.answer) > size {
			t.Errorf("%d bytes by UDP", len(w.answer))
		}
	})
}

func BenchmarkClusterName(b *testing.B) {
	h := zoneServer(b)
	req := new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		w := &written{addr: &net.UDPAddr{}}
		for pb.Next() {
			h.ServeDNS(w, req)
		}
	})
}

func BenchmarkClusterNameOverUDP(b *testing.B) {
	addr := start(b, zoneServer(b))
	var mu sync.Mutex
	var all []time.Duration
	began := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		var took []time.Duration
		defer func() {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		}()
		c, err := dns.Dial("udp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer func() { _ = c.Close() }()
		for pb.Next() {
			asked := time.Now()
			if err := c.WriteMsg(new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA)); err != nil {
				b.Error(err)
				return
			}
			if _, err := c.ReadMsg(); err != nil {
				b.Error(err)
				return
			}
			took = append(took, time.Since(asked))
		}
	})
	b.ReportMetric(float64(len(all))/time.Since(began).Seconds(), "queries/s")
	if len(all) == 0 {
		b.Fatal("no query was answered")
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(all[len(all)*99/100].Nanoseconds())/1e3, "p99-µs")
}
