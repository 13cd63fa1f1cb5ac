package server

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/dns/corefile"
	"github.com/skiffcluster/skiff/internal/netns"
)

const (
	// tryTime is how long one upstream server may take: CoreDNS's.
	tryTime = 2 * time.Second
	// sickTime is for how long a server that failed is asked last.
	sickTime = 5 * time.Second
)

var (
	errNoUpstream = errors.New("no upstream server is configured")
	errBusy       = errors.New("too many queries are under way")
)

// Forwarder asks upstream servers.
type Forwarder struct {
	netNS    string
	upstream []*upstream
	cache    *cache
	policy   string
	network  string        // udp, or tcp for all
	asking   chan struct{} // bounds the queries under way; nil is no bound
	turn     atomic.Uint64 // of policy round_robin
	metrics  *Metrics

	mu     sync.Mutex
	probes map[string]*upstream // names that only we ask for → whom we asked
}

// upstream is one server.
type upstream struct {
	addr   string
	sick   atomic.Int64 // unix nanoseconds until which it is asked last
	looped atomic.Bool  // it asks us
}

// newForwarder returns a Forwarder that asks the servers (address:port) from
// the network namespace at path; empty is the process's own.
func newForwarder(netNS string, cfg *corefile.Forward, servers []string, kept *cache, metrics *Metrics) *Forwarder {
	f := &Forwarder{netNS: netNS, cache: kept, policy: cfg.Policy, network: "udp", metrics: metrics, probes: map[string]*upstream{}}
	if cfg.ForceTCP {
		f.network = "tcp"
	}
	if cfg.MaxConcurrent > 0 {
		f.asking = make(chan struct{}, cfg.MaxConcurrent)
	}
	for _, s := range servers {
		f.upstream = append(f.upstream, &upstream{addr: s})
	}
	return f
}

// Ask returns the answer of the cache or of an upstream server. The message is
// the caller's to change; its id is not the query's.
func (f *Forwarder) Ask(ctx context.Context, req *dns.Msg) (*dns.Msg, error) {
	if answer := f.cache.get(req); answer != nil {
		f.metrics.hit(answer)
		return answer, nil
	}
	f.metrics.miss()
	order := f.order()
	if len(order) == 0 {
		return nil, errNoUpstream
	}
	if f.asking != nil {
		select {
		case f.asking <- struct{}{}:
			defer func() { <-f.asking }()
		default:
			f.metrics.rejected()
			return nil, errBusy
		}
	}
	query := req.Copy()
	dropOPT(query)
	opt := req.IsEdns0()
	query.SetEdns0(plainUDP, opt != nil && opt.Do())
	query.RecursionDesired = true
	var errs []error
	for _, u := range order {
		began := time.Now()
		answer, err := f.exchange(ctx, u, query)
		f.metrics.asked(u.addr, answer, time.Since(began))
		if err != nil {
			errs = append(errs, fmt.Errorf("ask %s: %w", u.addr, err))
			u.sick.Store(time.Now().Add(sickTime).UnixNano())
			if ctx.Err() != nil {
				break
			}
			continue
		}
		u.sick.Store(0)
		answer.Question = req.Question
		f.cache.put(req, answer)
		return answer, nil
	}
	return nil, errors.Join(errs...)
}

// order returns the servers as they are to be asked: well ones first, else by
// the policy.
func (f *Forwarder) order() []*upstream {
	var well, sick []*upstream
	now := time.Now().UnixNano()
	for _, i := range f.places() {
		switch u := f.upstream[i]; {
		case u.looped.Load():
		case u.sick.Load() > now:
			sick = append(sick, u)
		default:
			well = append(well, u)
		}
	}
	return append(well, sick...)
}

func (f *Forwarder) places() []int {
	n := len(f.upstream)
	if f.policy == "random" {
		return rand.Perm(n)
	}
	first := 0
	if f.policy == "round_robin" && n > 0 {
		first = int((f.turn.Add(1) - 1) % uint64(n))
	}
	out := make([]int, n)
	for i := range out {
		out[i] = (first + i) % n
	}
	return out
}

// exchange asks by UDP, and by TCP when the answer does not fit.
func (f *Forwarder) exchange(ctx context.Context, u *upstream, query *dns.Msg) (*dns.Msg, error) {
	query.Id = dns.Id()
	answer, err := f.exchangeBy(ctx, f.network, u, query)
	if err == nil && answer.Truncated && f.network == "udp" {
		if whole, err := f.exchangeBy(ctx, "tcp", u, query); err == nil {
			return whole, nil
		}
	}
	return answer, err
}

func (f *Forwarder) exchangeBy(ctx context.Context, network string, u *upstream, query *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	var conn net.Conn
	err := netns.Do(f.netNS, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, network, u.addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c := &dns.Client{Net: network, Timeout: tryTime, UDPSize: plainUDP}
	answer, _, err := c.ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn, UDPSize: plainUDP})
	if err != nil {
		return nil, err
	}
	if len(answer.Question) != 1 || !sameQuestion(answer.Question[0], query.Question[0]) {
		return nil, errors.New("the answer is to another question")
	}
	return answer, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && dns.CanonicalName(a.Name) == dns.CanonicalName(b.Name)
}

// findLoops asks each upstream server for a name that nobody else asks for. If
// the query comes back to us, the server forwards to us: it is not asked any more.
func (f *Forwarder) findLoops(ctx context.Context) {
	for _, u := range f.upstream {
		name := strconv.FormatUint(rand.Uint64(), 10) + "." + strconv.FormatUint(rand.Uint64(), 10) + "."
		f.mu.Lock()
		f.probes[name] = u
		f.mu.Unlock()
		_, _ = f.exchange(ctx, u, new(dns.Msg).SetQuestion(name, dns.TypeHINFO)) // the answer does not matter
		f.mu.Lock()
		delete(f.probes, name)
		f.mu.Unlock()
		if u.looped.Load() {
			klog.FromContext(ctx).Error(errors.New("it forwards to this server"), "Upstream server is not used", "server", u.addr)
		}
	}
}

// probed tells whether the question is a probe that came back.
func (f *Forwarder) probed(q dns.Question) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.probes[q.Name]
	if u != nil {
		u.looped.Store(true)
	}
	return u != nil
}
