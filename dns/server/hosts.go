package server

import (
	"net"
	"strings"

	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/dns/corefile"
)

// answerHosts answers from the list; it returns nil when others are to answer.
func answerHosts(h *corefile.Hosts, req *dns.Msg) *dns.Msg {
	q := req.Question[0]
	name := dns.CanonicalName(q.Name)
	if !inAny(h.Zones, name) {
		return nil
	}
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: h.TTL}
	reply := new(dns.Msg).SetReply(req)
	reply.Authoritative = true
	known := len(h.Addresses[name]) > 0
	for _, a := range h.Addresses[name] {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header, A: net.IP(a.AsSlice())})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header, AAAA: net.IP(a.AsSlice())})
		}
	}
	if q.Qtype == dns.TypePTR && strings.HasSuffix(name, ".arpa.") {
		for a, names := range h.Names {
			if reverse, err := dns.ReverseAddr(a.String()); err == nil && reverse == name {
				known = true
				for _, n := range names {
					reply.Answer = append(reply.Answer, &dns.PTR{Hdr: header, Ptr: n})
				}
			}
		}
	}
	if !known {
		if inAny(h.Fallthrough, name) {
			return nil
		}
		reply.Rcode = dns.RcodeNameError
	}
	return reply
}
