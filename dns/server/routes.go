package server

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/dns/corefile"
)

// Routes is a Corefile at work: who answers which names. It does not change;
// Server.Use puts another in its place.
type Routes struct {
	config *corefile.Config
	blocks map[*corefile.Block][]*Forwarder // in the order of Block.Forwards
}

// NewRoutes returns the Routes of a Corefile. Servers gives those that a
// resolv.conf names.
func NewRoutes(c *corefile.Config, netNS string, metrics *Metrics, servers func(path string) ([]string, error)) (*Routes, error) {
	r := &Routes{config: c, blocks: map[*corefile.Block][]*Forwarder{}}
	for _, b := range c.Blocks {
		kept := newCache(time.Now, corefile.Cache{})
		if b.Cache != nil {
			kept = newCache(time.Now, *b.Cache)
		}
		for i := range b.Forwards {
			f := &b.Forwards[i]
			var to []string
			for _, t := range f.To {
				if t[0] != '/' {
					to = append(to, t)
					continue
				}
				named, err := servers(t)
				if err != nil {
					return nil, fmt.Errorf("forward: servers of %s: %w", t, err)
				}
				to = append(to, named...)
			}
			r.blocks[b] = append(r.blocks[b], newForwarder(netNS, f, to, kept, metrics))
		}
	}
	return r, nil
}

// Servers returns the upstream servers of all blocks.
func (r *Routes) Servers() []string {
	var out []string
	for _, f := range r.forwarders() {
		for _, u := range f.upstream {
			if !slices.Contains(out, u.addr) {
				out = append(out, u.addr)
			}
		}
	}
	return out
}

// FindLoops takes servers that forward to us out of use.
func (r *Routes) FindLoops(ctx context.Context) {
	for _, f := range r.forwarders() {
		f.findLoops(ctx)
	}
}

func (r *Routes) forwarders() []*Forwarder {
	var out []*Forwarder
	for _, b := range r.config.Blocks {
		out = append(out, r.blocks[b]...)
	}
	return out
}

func (r *Routes) probed(q dns.Question) bool {
	if q.Qtype != dns.TypeHINFO {
		return false
	}
	return slices.ContainsFunc(r.forwarders(), func(f *Forwarder) bool { return f.probed(q) })
}

// forwarder returns who answers names like this in the block, or nil.
func (r *Routes) forwarder(b *corefile.Block, name string) *Forwarder {
	var found *Forwarder
	longest := -1
	for i := range b.Forwards {
		f := &b.Forwards[i]
		n := dns.CountLabel(f.From)
		if n > longest && dns.IsSubDomain(f.From, name) && !inAny(f.Except, name) {
			found, longest = r.blocks[b][i], n
		}
	}
	return found
}

// zoneOf is the zone of the block that name is in, for metrics.
func zoneOf(b *corefile.Block, name string) string {
	if b == nil {
		return "dropped"
	}
	longest := ""
	for _, z := range b.Zones {
		if dns.IsSubDomain(z, name) && len(z) > len(longest) {
			longest = z
		}
	}
	return longest
}

func inAny(zones []string, name string) bool {
	return slices.ContainsFunc(zones, func(z string) bool { return dns.IsSubDomain(z, name) })
}
