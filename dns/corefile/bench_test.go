package corefile_test

import (
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// mixed is a Corefile of the length that people have.
const mixed = `.:53 {
 errors
 hosts {
  192.0.2.1 host.test
  fallthrough
 }
 rewrite stop name suffix .old. .default.svc.cluster.local. answer auto
 kubernetes cluster.local in-addr.arpa ip6.arpa
 forward . /etc/resolv.conf
 cache 30
 loadbalance
}`

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
	c := load(f, mixed, node(true))
	f.Cleanup(func() {
		if err := c.Close(); err != nil {
			f.Error(err)
		}
	})
	h := handler(f, c)
	f.Fuzz(func(t *testing.T, query []byte, udp bool) {
		req := new(dns.Msg)
		if req.Unpack(query) != nil || req.Response {
			return
		}
		w := &written{addr: &net.TCPAddr{}}
		if udp {
			w.addr = &net.UDPAddr{}
		}
		h(w, req)
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
	c := load(b, mixed, node(true))
	b.Cleanup(func() { _ = c.Close() })
	h := handler(b, c)
	req := new(dns.Msg).SetQuestion("web.default.svc.cluster.local.", dns.TypeA)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		w := &written{addr: &net.UDPAddr{}}
		for pb.Next() {
			h(w, req)
		}
	})
}

func BenchmarkClusterNameOverUDP(b *testing.B) {
	addr := serve(b, mixed, node(true))
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

func BenchmarkLoad(b *testing.B) {
	n := node(true)
	for b.Loop() {
		if err := load(b, mixed, n).Close(); err != nil {
			b.Fatal(err)
		}
	}
}
