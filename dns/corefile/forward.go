package corefile

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	coredns "github.com/coredns/coredns/plugin/forward"
	"github.com/coredns/coredns/plugin/pkg/parse"
	"github.com/miekg/dns"
)

// forward sets up CoreDNS's forward with the servers that the node has for
// files such as /etc/resolv.conf, and without those that must not be asked. A
// stanza that is left without servers refuses its names.
func (l *loading) forward(c *caddy.Controller) error {
	tokens := rest(c)
	var kept []caddyfile.Token
	var alone []string // zones without servers
	for len(tokens) > 0 {
		stanza, head := split(tokens)
		tokens = tokens[len(stanza):]
		if head < 3 { // forward, a zone, servers
			kept = append(kept, stanza...) // CoreDNS says what is missing
			continue
		}
		to, err := l.servers(stanza[2:head])
		if err != nil {
			return fmt.Errorf("%s:%d: forward: %w", fileName, stanza[0].Line, err)
		}
		if len(to) == 0 {
			alone = append(alone, plugin.Host(stanza[1].Text).NormalizeExact()...)
			continue
		}
		kept = append(kept, stanza[:2]...)
		kept = append(kept, to...)
		kept = append(kept, stanza[head:]...)
	}
	cfg := dnsserver.GetConfig(c)
	if len(kept) > 0 {
		before := len(cfg.Plugin)
		if err := withTokens(c, "forward", kept); err != nil {
			return err
		}
		for i, p := range cfg.Plugin[before:] {
			cfg.Plugin[before+i] = func(next plugin.Handler) plugin.Handler {
				h := p(next)
				if f, ok := h.(*coredns.Forward); ok && !slices.Contains(l.chain.forwards, f) {
					l.chain.forwards = append(l.chain.forwards, f)
				}
				return h
			}
		}
	}
	if len(alone) > 0 {
		cfg.AddPlugin(func(next plugin.Handler) plugin.Handler { return refusing{alone, next} })
	}
	return nil
}

// servers replaces files by the servers that they name, and drops those that
// must not be asked.
func (l *loading) servers(to []caddyfile.Token) ([]caddyfile.Token, error) {
	var out []caddyfile.Token
	for _, t := range to {
		if strings.HasPrefix(t.Text, "/") {
			found, err := l.node.Servers(t.Text)
			if err != nil {
				return nil, fmt.Errorf("servers of %s: %w", t.Text, err)
			}
			for _, a := range found {
				t.Text = a
				out = append(out, t)
			}
			continue
		}
		out = append(out, t)
	}
	out = slices.DeleteFunc(out, func(t caddyfile.Token) bool {
		a := plainAddress(t.Text)
		return a != "" && l.node.Skip(a)
	})
	for _, t := range out {
		if a := plainAddress(t.Text); a != "" && !slices.Contains(l.chain.Upstreams, a) {
			l.chain.Upstreams = append(l.chain.Upstreams, a)
		}
	}
	return out, nil
}

// plainAddress returns address:port of a server that is asked by plain DNS and
// given by its address, or nothing.
func plainAddress(to string) string {
	a, err := parse.HostPort(to, "53")
	if err != nil {
		return ""
	}
	if host, _, err := net.SplitHostPort(a); err != nil || net.ParseIP(host) == nil {
		return ""
	}
	return a
}

// refusing answers names of zones whose servers there are none of.
type refusing struct {
	zones plugin.Zones
	next  plugin.Handler
}

// Name implements plugin.Handler.
func (r refusing) Name() string { return "refuse" }

// ServeDNS implements plugin.Handler.
func (r refusing) ServeDNS(ctx context.Context, w dns.ResponseWriter, req *dns.Msg) (int, error) {
	if r.zones.Contains(dns.CanonicalName(req.Question[0].Name)) {
		return dns.RcodeRefused, nil
	}
	return plugin.NextOrFailure(r.Name(), r.next, ctx, w, req)
}

// rest returns all tokens of a plugin in a server block.
func rest(c *caddy.Controller) []caddyfile.Token {
	var out []caddyfile.Token
	for c.Next() {
		out = append(out, caddyfile.Token{File: c.File(), Line: c.Line(), Text: c.Val()})
	}
	return out
}

// split returns the tokens of the first stanza and how many are before its
// options.
func split(tokens []caddyfile.Token) (stanza []caddyfile.Token, head int) {
	for head < len(tokens) && tokens[head].Text != "{" && tokens[head].Line == tokens[0].Line && tokens[head].File == tokens[0].File {
		head++
	}
	end := head
	for depth := 0; end < len(tokens); end++ {
		switch tokens[end].Text {
		case "{":
			depth++
		case "}":
			depth--
		}
		if depth == 0 {
			if tokens[end].Text == "}" {
				end++
			}
			break
		}
	}
	return tokens[:end], head
}

// withTokens runs the setup of CoreDNS's plugin of that name on other tokens.
func withTokens(c *caddy.Controller, name string, tokens []caddyfile.Token) error {
	setup, err := caddy.DirectiveAction("dns", name)
	if err != nil {
		return err
	}
	c.Dispenser = caddyfile.NewDispenserTokens(fileName, tokens)
	return setup(c)
}
