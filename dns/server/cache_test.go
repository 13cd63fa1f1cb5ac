package server

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/dns/corefile"
)

func answerWith(name string, ttl uint32) (req, answer *dns.Msg) {
	req = new(dns.Msg).SetQuestion(name, dns.TypeA)
	answer = new(dns.Msg).SetReply(req)
	answer.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.IPv4(192, 0, 2, 1)}}
	return req, answer
}

func TestKeptAnswersAge(t *testing.T) {
	now := time.Unix(1e9, 0)
	c := newCache(func() time.Time { return now }, corefile.Cache{Success: 30, Denial: 30})
	req, answer := answerWith("www.example.com.", 20)
	c.put(req, answer)
	for _, step := range []struct {
		age  time.Duration
		want int // TTL, or -1 for none
	}{{0, 20}, {7 * time.Second, 13}, {19 * time.Second, 1}, {20 * time.Second, -1}} {
		now = time.Unix(1e9, 0).Add(step.age)
		got := -1
		if m := c.get(req); m != nil {
			got = int(m.Answer[0].Header().Ttl)
		}
		if got != step.want {
			t.Errorf("after %v: TTL %d, want %d", step.age, got, step.want)
		}
	}
}

func TestWhatIsNotKept(t *testing.T) {
	for name, change := range map[string]func(*dns.Msg){
		"a truncated answer":                 func(m *dns.Msg) { m.Truncated = true },
		"a failure":                          func(m *dns.Msg) { m.Rcode = dns.RcodeServerFailure },
		"an answer for now only":             func(m *dns.Msg) { m.Answer[0].Header().Ttl = 0 },
		"no answer without saying how long":  func(m *dns.Msg) { m.Answer = nil },
		"no such name, without how long too": func(m *dns.Msg) { m.Answer, m.Rcode = nil, dns.RcodeNameError },
	} {
		t.Run(name, func(t *testing.T) {
			req, answer := answerWith("www.example.com.", 20)
			change(answer)
			c := newCache(time.Now, corefile.Cache{Success: 30, Denial: 30})
			c.put(req, answer)
			if c.get(req) != nil {
				t.Error("it was kept")
			}
		})
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	c := newCache(time.Now, corefile.Cache{Success: 30, Denial: 30})
	for i := range maxEntries + 100 {
		c.put(answerWith(fmt.Sprintf("n%d.example.com.", i), 20))
	}
	if len(c.entries) > maxEntries {
		t.Errorf("%d entries, want at most %d", len(c.entries), maxEntries)
	}
}
