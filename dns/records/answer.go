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
	// Rcode is NXDOMAIN when there is no such name.
	Rcode  int
	Answer []dns.RR
	// Extra are addresses of names in Answer.
	Extra []dns.RR
	// Authority is the zone's SOA when there is no answer.
	Authority []dns.RR
	// Follow is the name that an alias in Answer leads to, whose records of the
	// asked type belong to the answer.
	Follow string
}

// Answer answers a question of class IN about a name in zone, which is the
// view's domain or a reverse zone.
func (z *Zone) Answer(v *View, zone string, q dns.Question) Result {
	z.mu.RLock()
	defer z.mu.RUnlock()
	r, res := reading{z, v}, Result{Rcode: dns.RcodeSuccess}
	qname := dns.CanonicalName(q.Name)
	found := false
	if a, ok := reverse(qname); ok {
		found = r.fillReverse(&res, q, a)
	} else if dns.IsSubDomain(v.Domain, qname) {
		found = r.fill(&res, q, parse(qname, v.Domain))
	}
	if !found {
		res.Rcode = dns.RcodeNameError
	}
	if len(res.Answer) == 0 {
		res.Authority = []dns.RR{r.soa(zone)}
	}
	return res
}

// fillReverse answers for addresses of services and of endpoints with
// hostnames; it returns false when there is none.
func (r reading) fillReverse(res *Result, q dns.Question, a netip.Addr) bool {
	var targets []string
	for key := range r.clusterIPs[a] {
		if r.service(key) != nil {
			targets = append(targets, r.serviceName(key))
		}
	}
	if len(targets) == 0 {
		for key := range r.hostnames[a] {
			if r.service(key) == nil {
				continue
			}
			for _, e := range r.endpoints(key) {
				if e.addr == a && e.given {
					targets = append(targets, e.hostname+"."+r.serviceName(key))
				}
			}
		}
	}
	if len(targets) == 0 {
		return false
	}
	if q.Qtype == dns.TypePTR {
		slices.Sort(targets)
		for _, t := range slices.Compact(targets) {
			res.Answer = append(res.Answer, &dns.PTR{Hdr: r.header(q.Name, dns.TypePTR), Ptr: t})
		}
	}
	return true
}

// fill answers for a name in the domain; it returns false when there is no such name.
func (r reading) fill(res *Result, q dns.Question, n name) bool {
	switch n.kind {
	case apex:
		switch q.Qtype {
		case dns.TypeSOA:
			res.Answer = []dns.RR{r.soa(r.Domain)}
		case dns.TypeNS:
			res.Answer = []dns.RR{&dns.NS{Hdr: r.header(q.Name, dns.TypeNS), Ns: r.nameServer()}}
			res.Extra = r.addresses(r.nameServer(), dns.TypeA, dns.TypeAAAA)
		}
		return true
	case version:
		if q.Qtype == dns.TypeTXT {
			res.Answer = []dns.RR{&dns.TXT{Hdr: r.header(q.Name, dns.TypeTXT), Txt: []string{SchemaVersion}}}
		}
		return true
	case nameServe:
		res.Answer = r.addresses(q.Name, q.Qtype)
		return true
	case between:
		return true
	case namespace:
		return r.hasNamespace(n.namespace)
	case pod:
		if r.Pods == "" || r.Pods == PodsDisabled || !r.hasNamespace(n.namespace) {
			return false
		}
		if r.Pods == PodsVerified && !r.hasPod(n.namespace, n.addr) {
			return false
		}
		res.Answer = r.address(q, n.addr)
		return true
	case service, endpointK, protocol, port:
		return r.fillService(res, q, n)
	}
	return false
}

func (r reading) fillService(res *Result, q dns.Question, n name) bool {
	key := n.namespace + "/" + n.service
	s := r.service(key)
	if s == nil {
		return false
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		if n.kind == service {
			r.fillAlias(res, q, s.Spec.ExternalName)
		}
		return n.kind == service
	}
	var eps []endpoint
	if headless(s) || n.kind == endpointK || r.IgnoreEmpty {
		eps = r.endpoints(key)
	}
	if len(eps) == 0 && r.IgnoreEmpty {
		return false
	}
	switch n.kind {
	case endpointK:
		eps = slices.DeleteFunc(eps, func(e endpoint) bool { return e.hostname != n.endpoint })
		for _, e := range eps {
			res.Answer = append(res.Answer, r.address(q, e.addr)...)
		}
		res.Answer = distinct(res.Answer)
		return len(eps) > 0
	case service:
		if headless(s) && len(eps) == 0 {
			return false // the specification's section 2.4.1
		}
		if q.Qtype != dns.TypeSRV {
			res.Answer = distinct(r.serviceAddresses(q, s, eps))
			return true
		}
	}
	found := r.servers(s, eps, n)
	if n.kind != service && len(found) == 0 {
		return false
	}
	if q.Qtype == dns.TypeSRV && n.kind != protocol {
		res.Answer, res.Extra = r.srv(q, found)
	}
	return true
}

// fillAlias answers for a service that is another name.
func (r reading) fillAlias(res *Result, q dns.Question, target string) {
	if a, err := netip.ParseAddr(target); err == nil {
		// An address as the name: CoreDNS answers it as such.
		res.Answer = r.address(q, a.Unmap())
		return
	}
	target = dns.Fqdn(target)
	res.Answer = []dns.RR{&dns.CNAME{Hdr: r.header(q.Name, dns.TypeCNAME), Target: target}}
	if q.Qtype != dns.TypeCNAME {
		res.Follow = target
	}
}

func (r reading) serviceAddresses(q dns.Question, s *corev1.Service, eps []endpoint) []dns.RR {
	var out []dns.RR
	if headless(s) {
		for _, e := range eps {
			out = append(out, r.address(q, e.addr)...)
		}
		return out
	}
	for _, a := range clusterIPs(s) {
		out = append(out, r.address(q, a)...)
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
func (r reading) servers(s *corev1.Service, eps []endpoint, n name) []target {
	host := r.serviceName(s.Namespace + "/" + s.Name)
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
func (r reading) srv(q dns.Question, found []target) (answer, extra []dns.RR) {
	slices.SortFunc(found, func(a, b target) int {
		return cmp.Or(strings.Compare(a.host, b.host), cmp.Compare(a.port, b.port), a.addr.Compare(b.addr))
	})
	distinctTargets := slices.CompactFunc(slices.Clone(found), func(a, b target) bool { return a.host == b.host && a.port == b.port })
	for _, t := range distinctTargets {
		answer = append(answer, &dns.SRV{
			Hdr: r.header(q.Name, dns.TypeSRV), Target: t.host, Port: t.port,
			// CoreDNS's: equal shares of 100.
			Priority: 0, Weight: uint16(max(1, 100/len(distinctTargets))),
		})
	}
	for _, t := range found {
		qtype := dns.TypeA
		if t.addr.Is6() {
			qtype = dns.TypeAAAA
		}
		extra = append(extra, r.address(dns.Question{Name: t.host, Qtype: qtype}, t.addr)...)
	}
	return answer, distinct(extra)
}

func (r reading) serviceName(key string) string {
	ns, svc, _ := strings.Cut(key, "/")
	return svc + "." + ns + "." + r.under("svc")
}

func (r reading) nameServer() string { return r.under("ns.dns") }

func (r reading) addresses(owner string, types ...uint16) []dns.RR {
	var out []dns.RR
	for a := range r.nameServers {
		for _, t := range types {
			out = append(out, r.address(dns.Question{Name: owner, Qtype: t}, a)...)
		}
	}
	return out
}

func (r reading) soa(zone string) dns.RR {
	return &dns.SOA{
		Hdr: r.header(zone, dns.TypeSOA), Ns: r.nameServer(), Mbox: r.under("hostmaster"),
		// CoreDNS's: names that do not exist yet may be looked up again soon.
		Serial: r.serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: r.TTL,
	}
}

// address returns the record of a if it is of the asked type.
func (r reading) address(q dns.Question, a netip.Addr) []dns.RR {
	switch {
	case a.Is4() && q.Qtype == dns.TypeA:
		return []dns.RR{&dns.A{Hdr: r.header(q.Name, dns.TypeA), A: net.IP(a.AsSlice())}}
	case a.Is6() && q.Qtype == dns.TypeAAAA:
		return []dns.RR{&dns.AAAA{Hdr: r.header(q.Name, dns.TypeAAAA), AAAA: net.IP(a.AsSlice())}}
	}
	return nil
}

func (r reading) header(owner string, rrtype uint16) dns.RR_Header {
	return dns.RR_Header{Name: owner, Rrtype: rrtype, Class: dns.ClassINET, Ttl: r.TTL}
}

// distinct sorts records and drops those that are there twice.
func distinct(rrs []dns.RR) []dns.RR {
	if len(rrs) < 2 {
		return rrs
	}
	slices.SortFunc(rrs, func(a, b dns.RR) int { return strings.Compare(a.String(), b.String()) })
	return slices.CompactFunc(rrs, func(a, b dns.RR) bool { return dns.IsDuplicate(a, b) })
}
