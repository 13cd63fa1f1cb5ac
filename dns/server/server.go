package server

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"github.com/miekg/dns"
	"k8s.io/klog/v2"

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
	Zone    *records.Zone
	Forward *Forwarder
	// Synced tells whether Zone is complete. Until then, cluster names are
	// answered with SERVFAIL, since a wrong NXDOMAIN would be remembered.
	Synced func() bool
	// Context carries the logger and ends the queries under way.
	Context context.Context //nolint:containedctx // dns.Handler has no context parameter
	// Metrics, if set, is told of each answer.
	Metrics *Metrics
}

var _ dns.Handler = (*Server)(nil)

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
	s.Metrics.observe(reply, time.Since(began))
}

// Reply returns the answer to a query, whatever its size.
func (s *Server) Reply(ctx context.Context, req *dns.Msg) *dns.Msg {
	reply := new(dns.Msg).SetReply(req)
	fail := func(rcode int) *dns.Msg {
		reply.Rcode = rcode
		return reply
	}
	switch {
	case req.Opcode != dns.OpcodeQuery:
		return fail(dns.RcodeNotImplemented)
	case len(req.Question) != 1:
		return fail(dns.RcodeFormatError)
	case req.IsEdns0() != nil && req.IsEdns0().Version() != 0:
		return fail(dns.RcodeBadVers)
	}
	q := req.Question[0]
	if q.Qclass != dns.ClassINET || q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR || s.Forward.probed(q) {
		return fail(dns.RcodeRefused)
	}
	if dns.IsSubDomain(s.Zone.Domain(), dns.CanonicalName(q.Name)) && !s.Synced() {
		return fail(dns.RcodeServerFailure)
	}
	r := s.Zone.Answer(q)
	if !r.Ours {
		return s.forward(ctx, req, fail)
	}
	reply.Authoritative = true
	reply.Rcode, reply.Answer, reply.Ns, reply.Extra = r.Rcode, r.Answer, r.Authority, r.Extra
	s.follow(ctx, reply, q, r.Follow)
	// Clients mostly take the first: give each its turn.
	shuffle(reply.Answer)
	return reply
}

func (s *Server) forward(ctx context.Context, req *dns.Msg, fail func(int) *dns.Msg) *dns.Msg {
	answer, err := s.Forward.Ask(ctx, req)
	switch {
	case err == nil:
		return answer
	case errors.Is(err, errNoUpstream), errors.Is(err, errBusy):
		return fail(dns.RcodeRefused)
	}
	klog.FromContext(s.Context).V(2).Info("No upstream answered", "name", req.Question[0].Name, "err", err)
	return fail(dns.RcodeServerFailure)
}

// follow adds what an alias leads to. Without it the client has the alias at
// least and asks again.
func (s *Server) follow(ctx context.Context, reply *dns.Msg, q dns.Question, target string) {
	for n := 0; target != "" && n < maxAliases; n++ {
		next := dns.Question{Name: target, Qtype: q.Qtype, Qclass: q.Qclass}
		r := s.Zone.Answer(next)
		if !r.Ours {
			ask := new(dns.Msg).SetQuestion(target, q.Qtype)
			if answer, err := s.Forward.Ask(ctx, ask); err == nil {
				reply.Answer = append(reply.Answer, answer.Answer...)
				reply.Rcode = answer.Rcode
				if len(answer.Answer) == 0 {
					reply.Ns = answer.Ns
				}
			} else if !errors.Is(err, errNoUpstream) {
				reply.Rcode = dns.RcodeServerFailure
			}
			return
		}
		reply.Rcode = r.Rcode
		reply.Answer = append(reply.Answer, r.Answer...)
		reply.Extra = append(reply.Extra, r.Extra...)
		target = r.Follow
	}
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
