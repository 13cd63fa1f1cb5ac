package corefile

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// Limits and defaults that CoreDNS has too.
const (
	defaultTTL         = 5    // of kubernetes, in seconds
	defaultHostsTTL    = 3600 // of hosts, in seconds
	defaultCacheTTL    = 3600 // in seconds
	defaultDenialTTL   = 1800
	defaultConcurrency = 0 // no bound
)

// Parse reads a Corefile. Domain stands for CLUSTER_DOMAIN in it and is the
// only cluster domain that it may name; read gives the contents of files.
func Parse(text, domain string, read func(path string) ([]byte, error)) (*Config, error) {
	tokens, err := lex(strings.ReplaceAll(text, "CLUSTER_DOMAIN", domain))
	if err != nil {
		return nil, err
	}
	list, _, err := group(tokens, 0)
	if err != nil {
		return nil, err
	}
	p := parser{domain: dns.CanonicalName(domain), read: read}
	c := &Config{}
	seen := map[string]bool{}
	for i := range list {
		b, err := p.block(&list[i])
		if err != nil {
			return nil, err
		}
		for _, z := range b.Zones {
			if seen[z] {
				return nil, list[i].errorf("zone %s is in two server blocks", z)
			}
			seen[z] = true
		}
		c.Blocks = append(c.Blocks, b)
	}
	return c, nil
}

type parser struct {
	domain string
	read   func(path string) ([]byte, error)
}

func (p *parser) block(d *directive) (*Block, error) {
	if d.body == nil {
		return nil, d.errorf("want a server block: %s { … }", d.text)
	}
	b := &Block{}
	for _, key := range append([]string{d.text}, d.strings()...) {
		z, err := zoneOf(d, strings.TrimSuffix(key, ","))
		if err != nil {
			return nil, err
		}
		b.Zones = append(b.Zones, z)
	}
	for i := range d.body {
		if err := p.plugin(b, &d.body[i]); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// zoneOf reads a server block's zone, such as example.org:53 or dns://.:53.
func zoneOf(d *directive, key string) (string, error) {
	if scheme, rest, ok := strings.Cut(key, "://"); ok {
		if scheme != "dns" {
			return "", d.errorf("%s: only plain DNS is served", key)
		}
		key = rest
	}
	if zone, port, ok := strings.Cut(key, ":"); ok {
		if port != "53" {
			return "", d.errorf("%s: the port is 53, where the node's DNS answers", key)
		}
		key = zone
	}
	return zone(d, key)
}

func zone(t *directive, s string) (string, error) {
	if n, err := netip.ParsePrefix(s); err == nil {
		return reverseZone(t, n)
	}
	if _, ok := dns.IsDomainName(s); !ok || s == "" {
		return "", t.errorf("%q is no zone", s)
	}
	return dns.CanonicalName(s), nil
}

// reverseZone is the zone of a network that ends at a dot of its addresses.
func reverseZone(t *directive, n netip.Prefix) (string, error) {
	full, err := dns.ReverseAddr(n.Masked().Addr().String())
	step := 8
	if n.Addr().Is6() {
		step = 4
	}
	if err != nil || n.Bits()%step != 0 {
		return "", t.errorf("network %s has no zone of its own: want a multiple of %d bits", n, step)
	}
	labels := dns.SplitDomainName(full)
	return dns.CanonicalName(strings.Join(labels[(n.Addr().BitLen()-n.Bits())/step:], ".")), nil
}

func (p *parser) plugin(b *Block, d *directive) (err error) {
	switch d.text {
	case "errors", "health", "ready", "loop", "reload", "loadbalance", "prometheus", "bind", "debug", "lameduck":
		// Always so, or the node's own flags decide.
		return nil
	case "log":
		b.Log = true
		return nil
	case "kubernetes":
		b.Kubernetes, err = p.kubernetes(d)
	case "hosts":
		b.Hosts, err = p.hosts(b, d)
	case "rewrite":
		var r Rewrite
		if r, err = parseRewrite(d); err == nil {
			b.Rewrites = append(b.Rewrites, r)
		}
	case "forward":
		var f Forward
		if f, err = parseForward(d); err == nil {
			b.Forwards = append(b.Forwards, f)
		}
	case "cache":
		b.Cache, err = parseCache(d)
	default:
		return d.errorf("plugin %q is not supported: there are cache, errors, forward, health, hosts, kubernetes, loadbalance, log, loop, prometheus, ready, reload, rewrite", d.text)
	}
	return err
}

func (p *parser) kubernetes(d *directive) (*Kubernetes, error) {
	k := &Kubernetes{TTL: defaultTTL}
	for _, s := range d.strings() {
		z, err := zone(d, s)
		if err != nil {
			return nil, err
		}
		if z != p.domain && !dns.IsSubDomain("arpa.", z) {
			return nil, d.errorf("kubernetes: the cluster's domain is %s, not %s", p.domain, z)
		}
		k.Zones = append(k.Zones, z)
	}
	if len(k.Zones) == 0 {
		k.Zones = []string{p.domain}
	}
	for i := range d.body {
		o := &d.body[i]
		switch args := o.strings(); {
		case o.text == "fallthrough": // what is not the cluster's is others' in any case
		case o.text == "ttl" && len(args) == 1:
			ttl, err := number(o, args[0], 3600)
			if err != nil {
				return nil, err
			}
			k.TTL = ttl
		case o.text == "pods" && len(args) == 1 && slices.Contains([]string{"insecure", "disabled"}, args[0]):
			k.PodsDisabled = args[0] == "disabled"
		default:
			return nil, o.errorf("kubernetes: option %q is not supported: there are ttl, fallthrough, and pods with insecure or disabled", strings.Join(append([]string{o.text}, args...), " "))
		}
	}
	return k, nil
}

func (p *parser) hosts(b *Block, d *directive) (*Hosts, error) {
	h := &Hosts{TTL: defaultHostsTTL, Addresses: map[string][]netip.Addr{}, Names: map[netip.Addr][]string{}, Zones: b.Zones}
	if args := d.strings(); len(args) > 0 {
		if err := p.hostsFile(h, d, args[0]); err != nil {
			return nil, err
		}
		if len(args) > 1 {
			h.Zones = nil
			for _, s := range args[1:] {
				z, err := zone(d, s)
				if err != nil {
					return nil, err
				}
				h.Zones = append(h.Zones, z)
			}
		}
	} else if err := p.hostsFile(h, d, "/etc/hosts"); err != nil && len(d.body) == 0 {
		return nil, err
	}
	reverse := true
	for i := range d.body {
		o := &d.body[i]
		args := o.strings()
		switch o.text {
		case "fallthrough":
			h.Fallthrough = []string{"."}
			if len(args) > 0 {
				h.Fallthrough = nil
			}
			for _, s := range args {
				z, err := zone(o, s)
				if err != nil {
					return nil, err
				}
				h.Fallthrough = append(h.Fallthrough, z)
			}
		case "ttl":
			ttl, err := number(o, strings.Join(args, " "), 65535)
			if err != nil {
				return nil, err
			}
			h.TTL = ttl
		case "no_reverse":
			reverse = false
		case "reload": // the ConfigMap's change is what reloads
		default:
			a, err := netip.ParseAddr(o.text)
			if err != nil {
				return nil, o.errorf("hosts: want an address and names, or fallthrough, ttl, no_reverse, reload; have %q", o.text)
			}
			h.add(a, args)
		}
	}
	if !reverse {
		h.Names = nil
	}
	return h, nil
}

func (p *parser) hostsFile(h *Hosts, d *directive, path string) error {
	b, err := p.read(path)
	if err != nil {
		return d.errorf("hosts: %v", err)
	}
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(line, "#")
		if words := strings.Fields(line); len(words) > 1 {
			if a, err := netip.ParseAddr(words[0]); err == nil {
				h.add(a, words[1:])
			}
		}
	}
	return nil
}

func (h *Hosts) add(a netip.Addr, names []string) {
	a = a.Unmap()
	for _, n := range names {
		name := dns.CanonicalName(n)
		h.Addresses[name] = append(h.Addresses[name], a)
		h.Names[a] = append(h.Names[a], name)
	}
}

func parseForward(d *directive) (Forward, error) {
	f := Forward{MaxConcurrent: defaultConcurrency, Policy: "random"}
	args := d.strings()
	if len(args) < 2 {
		return f, d.errorf("forward: want a zone and servers")
	}
	var err error
	if f.From, err = zone(d, args[0]); err != nil {
		return f, err
	}
	for _, to := range args[1:] {
		server, err := upstream(d, to)
		if err != nil {
			return f, err
		}
		f.To = append(f.To, server)
	}
	for i := range d.body {
		o := &d.body[i]
		args := o.strings()
		switch {
		case o.text == "except":
			for _, s := range args {
				z, err := zone(o, s)
				if err != nil {
					return f, err
				}
				f.Except = append(f.Except, z)
			}
		case o.text == "max_concurrent" && len(args) == 1:
			n, err := number(o, args[0], 1<<20)
			if err != nil {
				return f, err
			}
			f.MaxConcurrent = int(n)
		case o.text == "policy" && len(args) == 1 && slices.Contains([]string{"random", "round_robin", "sequential"}, args[0]):
			f.Policy = args[0]
		case o.text == "force_tcp":
			f.ForceTCP = true
		case slices.Contains([]string{"prefer_udp", "expire", "max_fails", "health_check", "max_age", "failover", "next"}, o.text):
			// How others are watched and connections kept is ours to decide.
		default:
			return f, o.errorf("forward: option %q is not supported: there are except, max_concurrent, policy, force_tcp, prefer_udp, expire, max_fails, health_check", o.text)
		}
	}
	return f, nil
}

func upstream(d *directive, s string) (string, error) {
	if strings.HasPrefix(s, "/") {
		return s, nil
	}
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		if scheme != "dns" {
			return "", d.errorf("forward: %s: only plain DNS is supported", s)
		}
		s = rest
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return netip.AddrPortFrom(a, 53).String(), nil
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", d.errorf("forward: %q is no address, address:port or path of a resolv.conf", s)
	}
	return a.String(), nil
}

func parseCache(d *directive) (*Cache, error) {
	c := &Cache{Success: defaultCacheTTL, Denial: defaultDenialTTL}
	if args := d.strings(); len(args) > 0 {
		if ttl, err := number(d, args[0], 1<<30); err == nil {
			c.Success, c.Denial = min(c.Success, ttl), min(c.Denial, ttl)
			args = args[1:]
		}
		if len(args) > 0 {
			return nil, d.errorf("cache: zones are not supported: all that others answer is kept")
		}
	}
	for i := range d.body {
		o := &d.body[i]
		args := o.strings()
		switch o.text {
		case "success", "denial":
			if len(args) < 2 {
				continue // the capacity alone, which is fixed
			}
			ttl, err := number(o, args[1], 1<<30)
			if err != nil {
				return nil, err
			}
			if o.text == "success" {
				c.Success = ttl
			} else {
				c.Denial = ttl
			}
		case "disable":
			if slices.Contains(args, "success") {
				c.Success = 0
			}
			if slices.Contains(args, "denial") {
				c.Denial = 0
			}
		case "prefetch", "servfail", "keepttl":
			// They only make answers come sooner.
		default:
			return nil, o.errorf("cache: option %q is not supported: there are success, denial, disable, prefetch, servfail", o.text)
		}
	}
	return c, nil
}

func number(d *directive, s string, most uint64) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n > most {
		return 0, d.errorf("%s: want a number from 0 to %d, have %q", d.text, most, s)
	}
	return uint32(n), nil
}
