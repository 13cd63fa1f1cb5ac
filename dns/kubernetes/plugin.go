package kubernetes

import (
	"context"

	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/cache"
	"github.com/coredns/coredns/plugin/pkg/fall"
	"github.com/coredns/coredns/plugin/pkg/upstream"
	"github.com/coredns/coredns/request"
	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/dns/records"
)

// maxAliases is how many aliases are followed in one answer.
const maxAliases = 8

// Source is where the names of the cluster come from.
type Source struct {
	Zone *records.Zone
	// Synced tells whether Zone is complete but for pods, PodsSynced whether it
	// has those too. Until then names are answered with SERVFAIL, since a wrong
	// NXDOMAIN would be remembered.
	Synced, PodsSynced func() bool
	// Search returns the domains that pods search after the cluster's own.
	Search func() []string
}

// Plugin answers for the cluster. Its fields don't change once it serves.
type Plugin struct {
	Next plugin.Handler

	source Source
	zones  []string                 // forward and reverse, as its stanza has them
	views  map[string]*records.View // by zone
	fall   fall.F
	pods   bool // it needs the zone's pods
}

var (
	_ plugin.Handler     = (*Plugin)(nil)
	_ cache.ZoneBypasser = (*Plugin)(nil)
)

// Name implements plugin.Handler.
func (p *Plugin) Name() string { return "kubernetes" }

// NeedsPods tells whether the zone must know pods.
func (p *Plugin) NeedsPods() bool { return p.pods }

// CacheBypassZones implements cache.ZoneBypasser: names of the cluster are
// answered from memory anyway, and a change must be seen at once.
func (p *Plugin) CacheBypassZones() []string {
	var out []string
	for _, z := range p.zones {
		if !isReverse(z) {
			out = append(out, z)
		}
	}
	return out
}

// ServeDNS implements plugin.Handler.
func (p *Plugin) ServeDNS(ctx context.Context, w dns.ResponseWriter, req *dns.Msg) (int, error) {
	state := request.Request{W: w, Req: req}
	name := state.Name()
	zone := plugin.Zones(p.zones).Matches(name)
	if zone == "" || state.QClass() != dns.ClassINET {
		return plugin.NextOrFailure(p.Name(), p.Next, ctx, w, req)
	}
	if t := state.QType(); t == dns.TypeAXFR || t == dns.TypeIXFR {
		return dns.RcodeRefused, nil
	}
	view, through := p.views[zone], p.fall.Through(name)
	if !p.synced(view, name) {
		// Other addresses than the cluster's are looked up before.
		if through && isReverse(zone) {
			return plugin.NextOrFailure(p.Name(), p.Next, ctx, w, req)
		}
		return dns.RcodeServerFailure, nil
	}
	r := p.source.Zone.Answer(view, zone, req.Question[0])
	if r.Rcode == dns.RcodeNameError && through {
		return plugin.NextOrFailure(p.Name(), p.Next, ctx, w, req)
	}
	reply := new(dns.Msg).SetReply(req)
	reply.Authoritative, reply.RecursionAvailable = true, true
	reply.Rcode, reply.Answer, reply.Ns, reply.Extra = r.Rcode, r.Answer, r.Authority, r.Extra
	if r.Follow != "" {
		follow(ctx, state, reply, r.Follow)
	}
	// The answer is made: an error to send it is the client's.
	_ = w.WriteMsg(reply)
	return dns.RcodeSuccess, nil
}

func (p *Plugin) synced(v *records.View, name string) bool {
	if !p.source.Synced() {
		return false
	}
	return !p.pods || p.source.PodsSynced() || !v.IsPod(name)
}

// follow adds what an alias leads to, as the whole server answers it. Without
// that the client has the alias at least and asks again.
func follow(ctx context.Context, state request.Request, reply *dns.Msg, name string) {
	depth, ok := ctx.Value(dnsserver.LoopKey{}).(int)
	if !ok || depth >= maxAliases {
		return
	}
	ctx = context.WithValue(ctx, dnsserver.LoopKey{}, depth+1)
	next, err := upstream.New().Lookup(ctx, state, name, state.QType())
	if err != nil || next == nil || next.Rcode == dns.RcodeRefused {
		return // nobody is configured to know
	}
	reply.Rcode, reply.Truncated = next.Rcode, next.Truncated
	reply.Answer = append(reply.Answer, next.Answer...)
	if len(next.Answer) == 0 {
		reply.Ns = next.Ns
	}
}
