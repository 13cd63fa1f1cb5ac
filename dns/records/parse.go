package records

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// kind is what a name in the zone is about.
type kind int

const (
	unknown   kind = iota // no such name
	apex                  // <zone>
	version               // dns-version.<zone>
	nameServe             // ns.dns.<zone>
	between               // svc.<zone>, pod.<zone>, dns.<zone>: names exist below
	namespace             // <ns>.svc.<zone>, <ns>.pod.<zone>
	service               // <service>.<ns>.svc.<zone>
	endpointK             // <hostname>.<service>.<ns>.svc.<zone>
	protocol              // _<proto>.<service>.<ns>.svc.<zone>
	port                  // _<port>._<proto>.<service>.<ns>.svc.<zone>
	pod                   // <a-b-c-d>.<ns>.pod.<zone>
)

// name is a parsed name in the zone.
type name struct {
	kind                         kind
	namespace, service, endpoint string
	port, protocol               string
	addr                         netip.Addr // of a pod
}

// Parts returns what a name in the view's domain is about, by CoreDNS's names
// of its metadata: kind, namespace, service, endpoint, port-name, protocol.
func (v *View) Parts(qname string) map[string]string {
	n := parse(dns.CanonicalName(qname), v.Domain)
	out := map[string]string{"kind": "svc", "namespace": n.namespace, "service": n.service, "endpoint": n.endpoint, "port-name": n.port, "protocol": n.protocol}
	switch n.kind {
	case service, endpointK, protocol, port, namespace:
	case pod:
		out["kind"] = "pod"
	default:
		return nil
	}
	return out
}

// parse reads a canonical name in the zone.
func parse(qname, zone string) name {
	if qname == zone {
		return name{kind: apex}
	}
	labels := dns.SplitDomainName(strings.TrimSuffix(qname, "."+zone))
	// From the right: what, namespace, service …
	at := func(i int) string {
		if i >= len(labels) {
			return ""
		}
		return labels[len(labels)-1-i]
	}
	n := name{namespace: at(1), service: at(2)}
	switch at(0) {
	case "svc":
		n.kind = servicePart(&n, labels)
	case "pod":
		switch len(labels) {
		case 1:
			n.kind = between
		case 2:
			n.kind = namespace
		case 3:
			if a, ok := undash(at(2)); ok {
				n.kind, n.addr = pod, a
			}
		}
	case "dns":
		if len(labels) == 1 {
			n.kind = between
		} else if len(labels) == 2 && at(1) == "ns" {
			n.kind = nameServe
		}
	case "dns-version":
		if len(labels) == 1 {
			n.kind = version
		}
	}
	return n
}

func servicePart(n *name, labels []string) kind {
	switch len(labels) {
	case 1:
		return between
	case 2:
		return namespace
	case 3:
		return service
	case 4:
		if p, ok := strings.CutPrefix(labels[0], "_"); ok {
			n.protocol = p
			return protocol
		}
		n.endpoint = labels[0]
		return endpointK
	case 5:
		p, ok := strings.CutPrefix(labels[0], "_")
		q, ok2 := strings.CutPrefix(labels[1], "_")
		if ok && ok2 {
			n.port, n.protocol = p, q
			return port
		}
	}
	return unknown
}

// undash reads an address whose dots or colons are dashes.
func undash(s string) (netip.Addr, bool) {
	sep := "."
	if strings.Count(s, "-") != 3 || strings.Contains(s, "--") {
		sep = ":"
	}
	a, err := netip.ParseAddr(strings.ReplaceAll(s, "-", sep))
	return a, err == nil && a.Zone() == ""
}

// reverse reads the address in a canonical name below in-addr.arpa or ip6.arpa.
func reverse(qname string) (netip.Addr, bool) {
	if s, ok := strings.CutSuffix(qname, ".in-addr.arpa."); ok {
		l := strings.Split(s, ".")
		if len(l) != 4 {
			return netip.Addr{}, false
		}
		a, err := netip.ParseAddr(l[3] + "." + l[2] + "." + l[1] + "." + l[0])
		return a, err == nil
	}
	s, ok := strings.CutSuffix(qname, ".ip6.arpa.")
	l := strings.Split(s, ".")
	if !ok || len(l) != 32 {
		return netip.Addr{}, false
	}
	var b [16]byte
	for i, nibble := range l {
		v, err := strconv.ParseUint(nibble, 16, 4)
		if err != nil || len(nibble) != 1 {
			return netip.Addr{}, false
		}
		at := 31 - i
		b[at/2] |= byte(v) << (4 * (1 - at%2))
	}
	return netip.AddrFrom16(b), true
}
