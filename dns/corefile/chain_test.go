package corefile_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestAQueryIsAnswered(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	addr := serve(t, plain(up.addr), node(true))
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
				if r.Rcode != c.rcode || !slices.Equal(addresses(r), c.want) || r.Authoritative != c.authoritative {
					t.Errorf("%s: %v, want %s %v", network, r, dns.RcodeToString[c.rcode], c.want)
				}
			}
		})
	}
}

func TestAddressesHaveNames(t *testing.T) {
	r := ask(t, "udp", serve(t, plain(), node(true)), "1.0.96.10.in-addr.arpa.", dns.TypePTR)
	if len(r.Answer) != 1 || r.Answer[0].(*dns.PTR).Ptr != "web.default.svc.cluster.local." {
		t.Errorf("%v, want web.default.svc.cluster.local.", r)
	}
}

func TestAliasesThatGoInCirclesEnd(t *testing.T) {
	addr := serve(t, plain(), node(true))
	r := ask(t, "tcp", addr, "loop.default.svc.cluster.local.", dns.TypeA)
	if len(r.Answer) == 0 || len(r.Answer) > 10 {
		t.Errorf("%d records, want a few", len(r.Answer))
	}
}

func TestBadQueriesAreRefusedAsTheyDeserve(t *testing.T) {
	addr := serve(t, plain(), node(true))
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
	addr := serve(t, plain(up.addr), node(true))
	for _, name := range []string{"many.default.svc.cluster.local.", "big.example.com."} {
		r := ask(t, "udp", addr, name, dns.TypeA)
		r.Compress = true
		if r.Len() > dns.MinMsgSize || !r.Truncated || r.IsEdns0() != nil {
			t.Errorf("%s without EDNS: %d bytes, truncated %v", name, r.Len(), r.Truncated)
		}
		whole := ask(t, "tcp", addr, name, dns.TypeA)
		if whole.Truncated || len(whole.Answer) < 60 {
			t.Errorf("%s by TCP: %d records, truncated %v", name, len(whole.Answer), whole.Truncated)
		}
		r = ask(t, "udp", addr, name, dns.TypeA, func(m *dns.Msg) { m.SetEdns0(4096, false) })
		if r.Truncated || len(r.Answer) != len(whole.Answer) || r.IsEdns0() == nil {
			t.Errorf("%s with EDNS: %d records, truncated %v", name, len(r.Answer), r.Truncated)
		}
	}
}

func TestAnotherUpstreamIsAskedWhenOneIsSilent(t *testing.T) {
	// Nobody else listens on an address of loopback like this.
	closed := fmt.Sprintf("127.%d.%d.%d:5301", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	up := newUpstream(t, "192.0.2.1")
	addr := serve(t, plain(closed, up.addr), node(true))
	for i := range 10 {
		name := fmt.Sprintf("n%d.example.com.", i)
		if r := ask(t, "udp", addr, name, dns.TypeA); !slices.Equal(addresses(r), []string{"192.0.2.1"}) {
			t.Errorf("%s: %v", name, r)
		}
	}
	if r := ask(t, "udp", serve(t, plain(closed), node(true)), "www.example.com.", dns.TypeA); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("with dead servers only: %s, want SERVFAIL", dns.RcodeToString[r.Rcode])
	}
}

func TestUpstreamAnswersAreKept(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	addr := serve(t, plain(up.addr), node(true))
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
	up.silent.Store(true)
	if r := ask(t, "udp", addr, "www.example.com.", dns.TypeA); !slices.Equal(addresses(r), []string{"192.0.2.1"}) {
		t.Errorf("a kept answer while the upstream server is silent: %v", r)
	}
}

func TestClusterNamesWaitForTheAPI(t *testing.T) {
	up := newUpstream(t, "192.0.2.1")
	addr := serve(t, plain(up.addr), node(false))
	if r := ask(t, "udp", addr, "web.default.svc.cluster.local.", dns.TypeA); r.Rcode != dns.RcodeServerFailure {
		t.Errorf("a service: %s, want SERVFAIL", dns.RcodeToString[r.Rcode])
	}
	if r := ask(t, "udp", addr, "www.example.com.", dns.TypeA); r.Rcode != dns.RcodeSuccess {
		t.Errorf("a name outside: %s, want an answer", dns.RcodeToString[r.Rcode])
	}
	if r := ask(t, "udp", addr, "1.2.0.192.in-addr.arpa.", dns.TypeA); r.Rcode != dns.RcodeSuccess {
		t.Errorf("an address outside: %s, want an answer", dns.RcodeToString[r.Rcode])
	}
}
