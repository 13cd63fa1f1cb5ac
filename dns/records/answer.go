package records

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
)

// Result is the answer to a question.
type Result struct {
	// Ours is false when the question is not about the cluster: others know.
	Ours   bool
	Rcode  int
	Answer []dns.RR
	// Extra are addresses of names in Answer.
	Extra []dns.RR
	// Authority is the zone's SOA when there is no answer.
	Authority []dns.RR
	// Follow is the name outside of the zone that an alias in Answer leads to,
	// whose records of the asked type belong to the answer.
	Follow string
}

// Answer answers a question of class IN.
func (z *Zone) Answer(q dns.Question) Result {
	qname := dns.CanonicalName(q.Name)
	z.mu.RLock()
	defer z.mu.RUnlock()
	if a, ok := reverse(qname); ok {
		return z.answerReverse(q, a)
	}
	if !dns.IsSubDomain(z.domain, qname) {
		return Result{}
	}
	r := Result{Ours: true, Rcode: dns.RcodeSuccess}
	if !z.fill(&r, q, parse(qname, z.domain)) {
		r.Rcode = dns.RcodeNameError
	}
	if len(r.Answer) == 0 {
		r.Authority = []dns.RR{z.soa()}
	}
	return r
}

// answerReverse answers for addresses of services and endpoints; all others
// are somebody else's.
func (z *Zone) answerReverse(q dns.Question, a netip.Addr) Result {
	var targets []string
	for key := range z.clusterIPs[a] {
		targets = append(targets, z.serviceName(key))
	}
	if len(targets) == 0 {
		for key := range z.hostnames[a] {
			for _, e := range z.endpoints(key) {
				if e.addr == a && e.given {
					targets = append(targets, e.hostname+"."+z.serviceName(key))
				}
			}
		}
	}
	if len(targets) == 0 {
		return Result{}
	}
	slices.Sort(targets)
	r := Result{Ours: true, Rcode: dns.RcodeSuccess}
	if q.Qtype != dns.TypePTR {
		r.Authority = []dns.RR{z.soa()}
		return r
	}
	for _, t := range slices.Compact(targets) {
		r.Answer = append(r.Answer, &dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: t})
	}
	return r
}

// fill answers for a name in the zone; it returns false when there is no such name.
func (z *Zone) fill(r *Result, q dns.Question, n name) bool {
	switch n.kind {
	case apex:
		switch q.Qtype {
		case dns.TypeSOA:
			r.Answer = []dns.RR{z.soa()}
		case dns.TypeNS:
			r.Answer = []dns.RR{&dns.NS{Hdr: header(q.Name, dns.TypeNS), Ns: z.nameServer()}}
			r.Extra = z.addresses(z.nameServer(), dns.TypeA, dns.TypeAAAA)
		}
		return true
	case version:
		if q.Qtype == dns.TypeTXT {
			r.Answer = []dns.RR{&dns.TXT{Hdr: header(q.Name, dns.TypeTXT), Txt: []string{SchemaVersion}}}
		}
		return true
	case nameServe:
		r.Answer = z.addresses(q.Name, q.Qtype)
		return true
	case between:
		return true
	case namespace:
		return z.namespaces[n.namespace]
	case pod:
		if !z.namespaces[n.namespace] {
			return false
		}
		r.Answer = address(q, n.addr)
		return true
	case service, endpointK, protocol, port:
		return z.fillService(r, q, n)
	}
	return false
}

func (z *Zone) fillService(r *Result, q dns.Question, n name) bool {
	key := n.namespace + "/" + n.service
	s := z.services[key]
	if s == nil {
		return false
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		if n.kind != service {
			return false
		}
		return z.fillAlias(r, q, s.Spec.ExternalName)
	}
	eps := z.endpoints(key)
	switch n.kind {
	case endpointK:
		eps = slices.DeleteFunc(eps, func(e endpoint) bool { return e.hostname != n.endpoint })
		for _, e := range eps {
			r.Answer = append(r.Answer, address(q, e.addr)...)
		}
		r.Answer = distinct(r.Answer)
		return len(eps) > 0
	case service:
		if headless(s) && len(eps) == 0 {
			return false // the specification's section 2.4.1
		}
		if q.Qtype != dns.TypeSRV {
			r.Answer = distinct(serviceAddresses(q, s, eps))
			return true
		}
	}
	found := z.servers(s, eps, n)
	if n.kind != service && len(found) == 0 {
		return false
	}
	if q.Qtype == dns.TypeSRV && n.kind != protocol {
		r.Answer, r.Extra = srv(q, found)
	}
	return true
}

// fillAlias answers for a service that is another name.
func (z *Zone) fillAlias(r *Result, q dns.Question, target string) bool {
	if a, err := netip.ParseAddr(target); err == nil {
		// An address as the name: CoreDNS answers it as such.
		r.Answer = address(q, a.Unmap())
		return true
	}
	target = dns.Fqdn(target)
	r.Answer = []dns.RR{&dns.CNAME{Hdr: header(q.Name, dns.TypeCNAME), Target: target}}
	if q.Qtype != dns.TypeCNAME {
		r.Follow = target
	}
	return true
}

func serviceAddresses(q dns.Question, s *corev1.Service, eps []endpoint) []dns.RR {
	var out []dns.RR
	if headless(s) {
		for _, e := range eps {
			out = append(out, address(q, e.addr)...)
		}
		return out
	}
	for _, a := range clusterIPs(s) {
		out = append(out, address(q, a)...)
	}
	return out
}

// target is a server of a named port.
type target struct {
	host string
	addr netip.Addr
	port uint16
}

// servers returns the servers of the service's named ports that n asks for.
func (z *Zone) servers(s *corev1.Service, eps []endpoint, n name) []target {
	host := z.serviceName(s.Namespace + "/" + s.Name)
	wanted := func(port string, protocol corev1.Protocol) bool {
		if port == "" {
			return false
		}
		if protocol == "" {
			protocol = corev1.ProtocolTCP
		}
		return (n.port == "" || strings.EqualFold(n.port, port)) && (n.protocol == "" || strings.EqualFold(n.protocol, string(protocol)))
	}
	var out []target
	if !headless(s) {
		for _, p := range s.Spec.Ports {
			if wanted(p.Name, p.Protocol) {
				for _, a := range clusterIPs(s) {
					out = append(out, target{host, a, uint16(p.Port)})
				}
			}
		}
		return out
	}
	for _, e := range eps {
		for _, p := range e.ports {
			if p.Name == nil || p.Port == nil {
				continue
			}
			protocol := corev1.ProtocolTCP
			if p.Protocol != nil {
				protocol = *p.Protocol
			}
			if wanted(*p.Name, protocol) {
				out = append(out, target{e.hostname + "." + host, e.addr, uint16(*p.Port)})
			}
		}
	}
	return out
}

// srv returns SRV records, one for each host and port, with the hosts' addresses.
func srv(q dns.Question, found []target) (answer, extra []dns.RR) {
	slices.SortFunc(found, func(a, b target) int {
		return cmp.Or(strings.Compare(a.host, b.host), cmp.Compare(a.port, b.port), a.addr.Compare(b.addr))
	})
	distinctTargets := slices.CompactFunc(slices.Clone(found), func(a, b target) bool { return a.host == b.host && a.port == b.port })
	for _, t := range distinctTargets {
		answer = append(answer, &dns.SRV{
			Hdr: header(q.Name, dns.TypeSRV), Target: t.host, Port: t.port,
			// CoreDNS's: equal shares of 100.
			Priority: 0, Weight: uint16(max(1, 100/len(distinctTargets))),
		})
	}
	for _, t := range found {
		qtype := dns.TypeA
		if t.addr.Is6() {
			qtype = dns.TypeAAAA
		}
		extra = append(extra, address(dns.Question{Name: t.host, Qtype: qtype}, t.addr)...)
	}
	return answer, distinct(extra)
}

func (z *Zone) serviceName(key string) string {
	ns, svc, _ := strings.Cut(key, "/")
	return svc + "." + ns + ".svc." + z.domain
}

func (z *Zone) nameServer() string { return "ns.dns." + z.domain }

func (z *Zone) addresses(owner string, types ...uint16) []dns.RR {
	var out []dns.RR
	for a := range z.nameServers {
		for _, t := range types {
			out = append(out, address(dns.Question{Name: owner, Qtype: t}, a)...)
		}
	}
	return out
}

func (z *Zone) soa() dns.RR {
	return &dns.SOA{
		Hdr: header(z.domain, dns.TypeSOA), Ns: z.nameServer(), Mbox: "hostmaster." + z.domain,
		// CoreDNS's: names that do not exist yet may be looked up again soon.
		Serial: z.serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL,
	}
}

// address returns the record of a if it is of the asked type.
func address(q dns.Question, a netip.Addr) []dns.RR {
	switch {
	case a.Is4() && q.Qtype == dns.TypeA:
		return []dns.RR{&dns.A{Hdr: header(q.Name, dns.TypeA), A: net.IP(a.AsSlice())}}
	case a.Is6() && q.Qtype == dns.TypeAAAA:
		return []dns.RR{&dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: net.IP(a.AsSlice())}}
	}
	return nil
}

func header(owner string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: TTL}
}

// distinct sorts records and drops those that are there twice.
func distinct(rrs []dns.RR) []dns.RR {
	slices.SortFunc(rrs, func(a, b dns.RR) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(rrs, func(a, b dns.RR) bool { return dns.IsDuplicate(a, b) })
}
