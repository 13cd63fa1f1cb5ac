package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"k8s.io/klog/v2"

	"github.com/skiffcluster/skiff/dns/corefile"
	"github.com/skiffcluster/skiff/dns/records"
)

const (
	// queryTime is how long one query may take, upstream included. Clients give
	// up after 5 s.
	queryTime = 5 * time.Second
	// maxAliases is how many aliases are followed in one answer.
	maxAliases = 8
	// minUDP is what every client takes (RFC 1035); plainUDP is what passes
	// networks unfragmented (DNS flag day 2020).
	minUDP, plainUDP = 512, 1232
)

// Server answers queries. All fields are set before the first query.
type Server struct {
	Zone *records.Zone
	// Synced tells whether Zone is complete. Until then, cluster names are
	// answered with SERVFAIL, since a wrong NXDOMAIN would be remembered.
	Synced func() bool
	// Context carries the logger and ends the queries under way.
	Context context.Context //nolint:containedctx // dns.Handler has no context parameter
	// Metrics, if set, is told of each answer.
	Metrics *Metrics

	routes atomic.Pointer[Routes]
}

var _ dns.Handler = (*Server)(nil)

// Use answers by these Routes from now on.
func (s *Server) Use(r *Routes) { s.routes.Store(r) }

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	if req.Response {
		return
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(s.Context, queryTime)
	defer cancel()
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	reply := s.Reply(ctx, req)
	finish(reply, req, udp)
	if err := w.WriteMsg(reply); err != nil {
		klog.FromContext(s.Context).V(2).Info("Answer was not sent", "client", w.RemoteAddr(), "err", err)
	}
	b, zone := s.blockOf(req)
	took := time.Since(began)
	s.Metrics.observe(req, reply, zone, udp, w.RemoteAddr(), took)
	if b != nil && b.Log {
		klog.FromContext(s.Context).Info("Answered", "client", w.RemoteAddr(), "name", req.Question[0].Name,
			"type", dns.TypeToString[req.Question[0].Qtype], "rcode", dns.RcodeToString[reply.Rcode], "took", took)
	}
}

func (s *Server) blockOf(req *dns.Msg) (*corefile.Block, string) {
	if len(req.Question) != 1 {
		return nil, zoneOf(nil, "")
	}
	name := dns.CanonicalName(req.Question[0].Name)
	b := s.routes.Load().config.Match(name)
	return b, zoneOf(b, name)
}

// Reply returns the answer to a query, whatever its size.
func (s *Server) Reply(ctx context.Context, req *dns.Msg) *dns.Msg {
	switch {
	case req.Opcode != dns.OpcodeQuery:
		return failure(req, dns.RcodeNotImplemented)
	case len(req.Question) != 1:
		return failure(req, dns.RcodeFormatError)
	case req.IsEdns0() != nil && req.IsEdns0().Version() != 0:
		return failure(req, dns.RcodeBadVers)
	}
	q, routes := req.Question[0], s.routes.Load()
	if q.Qclass != dns.ClassINET || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR || routes.probed(q) {
		return failure(req, dns.RcodeRefused)
	}
	return s.resolve(ctx, routes, req, 0)
}

func failure(req *dns.Msg, rcode int) *dns.Msg { return new(dns.Msg).SetRcode(req, rcode) }

// resolve finds the answer by the block that the name belongs to; depth counts
// the aliases that led here.
func (s *Server) resolve(ctx context.Context, routes *Routes, req *dns.Msg, depth int) *dns.Msg {
	asked := dns.CanonicalName(req.Question[0].Name)
	b := routes.config.Match(asked)
	if b == nil {
		return failure(req, dns.RcodeRefused)
	}
	name := asked
	for i := range b.Rewrites {
		to, ok := b.Rewrites[i].Apply(name)
		if !ok {
			continue
		}
		name = to
		if !b.Rewrites[i].Continue {
			break
		}
	}
	if name == asked {
		return s.answer(ctx, routes, b, req, depth)
	}
	if _, ok := dns.IsDomainName(name); !ok {
		return failure(req, dns.RcodeServerFailure)
	}
	changed := req.Copy()
	changed.Question[0].Name = name
	reply := s.answer(ctx, routes, b, changed, depth)
	reply.Question = req.Question
	for _, section := range [][]dns.RR{reply.Answer, reply.Ns, reply.Extra} {
		for _, rr := range section {
			if h := rr.Header(); dns.CanonicalName(h.Name) == name {
				h.Name = req.Question[0].Name
			}
		}
	}
	return reply
}

// answer asks the block's plugins in CoreDNS's order.
func (s *Server) answer(ctx context.Context, routes *Routes, b *corefile.Block, req *dns.Msg, depth int) *dns.Msg {
	q := req.Question[0]
	name := dns.CanonicalName(q.Name)
	if b.Hosts != nil {
		if reply := answerHosts(b.Hosts, req); reply != nil {
			return reply
		}
	}
	if k := b.Kubernetes; k != nil && inAny(k.Zones, name) {
		if reply := s.answerCluster(ctx, routes, k, req, depth); reply != nil {
			return reply
		}
	}
	f := routes.forwarder(b, name)
	if f == nil {
		return failure(req, dns.RcodeRefused)
	}
	answer, err := f.Ask(ctx, req)
	switch {
	case err == nil:
		return answer
	case errors.Is(err, errNoUpstream), errors.Is(err, errBusy):
		return failure(req, dns.RcodeRefused)
	}
	klog.FromContext(s.Context).V(2).Info("No upstream answered", "name", q.Name, "err", err)
	return failure(req, dns.RcodeServerFailure)
}

// answerCluster answers for the cluster; nil when it is none of its names.
func (s *Server) answerCluster(ctx context.Context, routes *Routes, k *corefile.Kubernetes, req *dns.Msg, depth int) *dns.Msg {
	q := req.Question[0]
	name := dns.CanonicalName(q.Name)
	if dns.IsSubDomain(s.Zone.Domain(), name) && !s.Synced() {
		return failure(req, dns.RcodeServerFailure)
	}
	r := s.Zone.Answer(q)
	if !r.Ours {
		return nil
	}
	if k.PodsDisabled && dns.IsSubDomain("pod."+s.Zone.Domain(), name) {
		r.Rcode, r.Answer = dns.RcodeNameError, nil
	}
	reply := new(dns.Msg).SetReply(req)
	reply.Authoritative = true
	reply.Rcode, reply.Answer, reply.Ns, reply.Extra = r.Rcode, r.Answer, r.Authority, r.Extra
	if k.TTL != records.TTL {
		for _, section := range [][]dns.RR{reply.Answer, reply.Ns, reply.Extra} {
			for _, rr := range section {
				rr.Header().Ttl = k.TTL
			}
		}
	}
	if r.Follow != "" && depth < maxAliases {
		s.follow(ctx, routes, reply, dns.Question{Name: r.Follow, Qtype: q.Qtype, Qclass: q.Qclass}, depth)
	}
	// Clients mostly take the first: give each its turn.
	shuffle(reply.Answer)
	return reply
}

// follow adds what an alias leads to. Without it the client has the alias at
// least and asks again.
func (s *Server) follow(ctx context.Context, routes *Routes, reply *dns.Msg, q dns.Question, depth int) {
	ask := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
	next := s.resolve(ctx, routes, ask, depth+1)
	if next.Rcode == dns.RcodeRefused {
		return // nobody is configured to know
	}
	reply.Rcode = next.Rcode
	reply.Answer = append(reply.Answer, next.Answer...)
	if len(next.Answer) == 0 {
		reply.Ns = next.Ns
	}
	dropOPT(next)
	reply.Extra = append(reply.Extra, next.Extra...)
}

// finish makes the reply one to req that fits what the client takes.
func finish(reply, req *dns.Msg, udp bool) {
	reply.Id, reply.RecursionDesired, reply.RecursionAvailable = req.Id, req.RecursionDesired, true
	reply.Compress = true
	size := dns.MaxMsgSize
	opt := req.IsEdns0()
	if udp {
		size = minUDP
		if opt != nil {
			size = min(max(int(opt.UDPSize()), minUDP), dns.MaxMsgSize)
		}
	}
	dropOPT(reply)
	if opt != nil {
		// Also carries the upper bits of extended codes such as BADVERS.
		reply.SetEdns0(plainUDP, opt.Do())
	}
	reply.Truncate(size)
}

func dropOPT(m *dns.Msg) {
	kept := m.Extra[:0:0]
	for _, rr := range m.Extra {
		if rr.Header().Rrtype != dns.TypeOPT {
			kept = append(kept, rr)
		}
	}
	m.Extra = kept
}

// shuffle mixes the addresses in an answer and leaves aliases where they are.
func shuffle(rrs []dns.RR) {
	first := 0
	for first < len(rrs) && rrs[first].Header().Rrtype == dns.TypeCNAME {
		first++
	}
	rest := rrs[first:]
	for _, rr := range rest {
		if t := rr.Header().Rrtype; t != dns.TypeA && t != dns.TypeAAAA {
			return
		}
	}
	rand.Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
}
