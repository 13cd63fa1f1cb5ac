package server

import (
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/dns/corefile"
)

// maxEntries bounds the cache: CoreDNS's capacity.
const maxEntries = 9984

// cache keeps upstream answers. It is safe for concurrent use.
type cache struct {
	now     func() time.Time
	most    corefile.Cache // for how many seconds answers are kept at most
	mu      sync.Mutex
	entries map[cacheKey]cacheEntry
}

type cacheKey struct {
	name              string
	qtype, qclass     uint16
	dnssec, unchecked bool
}

type cacheEntry struct {
	answer *dns.Msg
	stored time.Time
	ttl    uint32
}

func newCache(now func() time.Time, most corefile.Cache) *cache {
	return &cache{now: now, most: most, entries: map[cacheKey]cacheEntry{}}
}

func keyOf(req *dns.Msg) cacheKey {
	q := req.Question[0]
	opt := req.IsEdns0()
	return cacheKey{dns.CanonicalName(q.Name), q.Qtype, q.Qclass, opt != nil && opt.Do(), req.CheckingDisabled}
}

// get returns a copy of the answer to req with what is left of its TTLs, or nil.
func (c *cache) get(req *dns.Msg) *dns.Msg {
	key := keyOf(req)
	c.mu.Lock()
	e, ok := c.entries[key]
	c.mu.Unlock()
	if !ok {
		return nil
	}
	age := uint32(c.now().Sub(e.stored) / time.Second)
	if age >= e.ttl {
		return nil
	}
	answer := e.answer.Copy()
	answer.Question = req.Question
	answer.Authoritative = false
	for _, section := range [][]dns.RR{answer.Answer, answer.Ns, answer.Extra} {
		for _, rr := range section {
			if h := rr.Header(); h.Rrtype != dns.TypeOPT {
				h.Ttl = min(h.Ttl, e.ttl) - min(age, h.Ttl, e.ttl)
			}
		}
	}
	return answer
}

// put keeps a copy of the answer if it may be kept.
func (c *cache) put(req, answer *dns.Msg) {
	ttl := keepTime(answer, c.most)
	if ttl == 0 {
		return
	}
	key := keyOf(req)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.entries) >= maxEntries {
		c.evict()
	}
	c.entries[key] = cacheEntry{answer: answer.Copy(), stored: c.now(), ttl: ttl}
}

// evict makes room: of some entries, map order being random, those that are
// too old go, and one in any case.
func (c *cache) evict() {
	const look = 32
	seen, now := 0, c.now()
	for key, e := range c.entries {
		if seen == 0 || now.Sub(e.stored) >= time.Duration(e.ttl)*time.Second {
			delete(c.entries, key)
		}
		if seen++; seen == look {
			return
		}
	}
}

// keepTime returns for how many seconds an answer may be kept (RFC 2181 and
// 2308): the least TTL, of the SOA when there is no answer; 0 is not at all.
func keepTime(m *dns.Msg, most corefile.Cache) uint32 {
	if m.Truncated || (m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError) {
		return 0
	}
	ttl, found := most.Success, false
	if m.Rcode == dns.RcodeNameError || len(m.Answer) == 0 {
		ttl = most.Denial
	}
	for _, rr := range m.Answer {
		ttl, found = min(ttl, rr.Header().Ttl), true
	}
	for _, rr := range m.Ns {
		ttl = min(ttl, rr.Header().Ttl)
		if soa, ok := rr.(*dns.SOA); ok {
			ttl, found = min(ttl, soa.Minttl), true
		}
	}
	if !found {
		return 0
	}
	return ttl
}
