package kubernetes

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/plugin"
	"github.com/miekg/dns"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/skiffcluster/skiff/dns/records"
)

// CoreDNS's default and limit of ttl, in seconds.
const (
	defaultTTL = 5
	maxTTL     = 3600
)

// arguments are CoreDNS's options with the least and the most of their
// arguments.
var arguments = map[string][2]int{
	"endpoint_pod_names": {0, 0}, "noendpoints": {0, 0}, "fallthrough": {0, math.MaxInt},
	"namespaces": {1, math.MaxInt}, "labels": {1, math.MaxInt}, "namespace_labels": {1, math.MaxInt},
	"pods": {1, 1}, "ignore": {1, 1}, "ttl": {1, 1},
	"startup_timeout": {1, 1}, "apiserver_qps": {1, 1}, "apiserver_burst": {1, 1}, "apiserver_max_inflight": {1, 1},
}

// refused are CoreDNS's options that a node can't have.
var refused = map[string]string{
	"endpoint":     "names are those of the node's own cluster",
	"tls":          "names are those of the node's own cluster",
	"kubeconfig":   "names are those of the node's own cluster",
	"multicluster": "the cluster has no ServiceImports",
	"zonal":        "names of topology zones are not served",
}

// Parse reads the stanza of a server block.
func Parse(c *caddy.Controller, source Source) (*Plugin, error) {
	var p *Plugin
	for c.Next() {
		if p != nil {
			return nil, plugin.ErrOnce
		}
		p = &Plugin{source: source, zones: plugin.OriginsFromArgsOrServerBlock(c.RemainingArgs(), c.ServerBlockKeys)}
		primary := slices.IndexFunc(p.zones, func(z string) bool { return !isReverse(z) })
		if primary < 0 {
			return nil, c.Err("non-reverse zone name must be used")
		}
		options := records.View{Domain: p.zones[primary], TTL: defaultTTL}
		for c.NextBlock() {
			if err := p.option(c, &options); err != nil {
				return nil, err
			}
		}
		if len(options.Namespaces) > 0 && options.NamespaceLabels != nil {
			return nil, c.Err("namespaces and namespace_labels cannot both be set")
		}
		p.pods = options.Pods == records.PodsVerified
		p.views = map[string]*records.View{}
		for _, z := range p.zones {
			v := options
			if !isReverse(z) {
				v.Domain = z
			}
			p.views[z] = &v
		}
	}
	return p, nil
}

func (p *Plugin) option(c *caddy.Controller, v *records.View) error {
	name, args := c.Val(), c.RemainingArgs()
	if why := refused[name]; why != "" {
		return c.Errf("option %q of kubernetes is not supported: %s", name, why)
	}
	n, known := arguments[name]
	if !known {
		return c.Errf("unknown property '%s'", name)
	}
	if len(args) < n[0] || len(args) > n[1] {
		return c.ArgErr()
	}
	switch name {
	case "pods":
		switch m := records.PodMode(args[0]); m {
		case records.PodsDisabled, records.PodsInsecure, records.PodsVerified:
			v.Pods = m
		default:
			return c.Errf("wrong value for pods: %s,  must be one of: disabled, verified, insecure", args[0])
		}
	case "endpoint_pod_names":
		v.EndpointPodNames = true
	case "noendpoints":
		v.NoEndpoints = true
	case "ignore":
		if args[0] != "empty_service" {
			return c.Errf("unable to parse ignore value: '%v'", args[0])
		}
		v.IgnoreEmpty = true
	case "ttl":
		n, err := strconv.Atoi(args[0])
		if err != nil || n < 0 || n > maxTTL {
			return c.Errf("ttl must be in range [0, %d]: %s", maxTTL, args[0])
		}
		v.TTL = uint32(n)
	case "fallthrough":
		p.fall.SetZonesFromArgs(args)
	case "namespaces":
		v.Namespaces = args
	case "labels", "namespace_labels":
		s, err := labels.Parse(strings.Join(args, " "))
		if err != nil {
			return c.Errf("unable to parse label selector value: '%v': %v", strings.Join(args, " "), err)
		}
		if name == "labels" {
			v.Labels = s
		} else {
			v.NamespaceLabels = s
		}
	default:
		return clientOption(c, name, args[0])
	}
	return nil
}

// clientOption checks options about the client of the API server. They change
// nothing: the node has one client for all.
func clientOption(c *caddy.Controller, name, value string) error {
	var err error
	switch name {
	case "startup_timeout":
		_, err = time.ParseDuration(value)
	case "apiserver_qps":
		_, err = strconv.ParseFloat(value, 32)
	default: // apiserver_burst and apiserver_max_inflight
		_, err = strconv.ParseUint(value, 10, 31)
	}
	if err != nil {
		return c.Errf("invalid %s %q: %v", name, value, err)
	}
	return nil
}

// isReverse tells whether the names of a zone are addresses.
func isReverse(zone string) bool {
	return dns.IsSubDomain("in-addr.arpa.", zone) || dns.IsSubDomain("ip6.arpa.", zone)
}
