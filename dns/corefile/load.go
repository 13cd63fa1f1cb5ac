package corefile

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/caddy/caddyfile"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/pkg/transport"

	"github.com/skiffcluster/skiff/dns/kubernetes"
)

// fileName is how errors name the Corefile.
const fileName = "Corefile"

// Node is what plugins use of the node.
type Node struct {
	// Names answers for the cluster.
	Names kubernetes.Source
	// Servers returns the servers, address:port, that a resolv.conf names.
	Servers func(path string) ([]string, error)
	// Skip tells of an upstream server, address:port, that it must not be asked.
	Skip func(addr string) bool
}

// Load returns the chain of a Corefile, which serves. It must be closed.
func Load(text string, node Node) (*Chain, error) {
	blocks, err := caddyfile.Parse(fileName, strings.NewReader(text), dnsserver.Directives)
	if err != nil {
		return nil, err
	}
	if len(blocks) == 0 {
		return nil, fmt.Errorf("%s: want a server block, such as .:53 { }", fileName)
	}
	c, instance := newController()
	l := &loading{node: node, chain: &Chain{instance: instance}}
	if blocks, err = c.Context().InspectServerBlocks(fileName, blocks); err != nil {
		return nil, fmt.Errorf("%s: %w", fileName, err)
	}
	if err := l.setup(c, blocks); err != nil {
		return nil, errors.Join(err, l.abandon())
	}
	servers, err := c.Context().MakeServers()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", fileName, err), l.abandon())
	}
	// All blocks are for one port and so of one server.
	l.chain.server = servers[0].(*dnsserver.Server)
	if err := l.chain.start(); err != nil {
		return nil, fmt.Errorf("%s: %w", fileName, err)
	}
	return l.chain, nil
}

// loading is a Corefile on its way to a chain.
type loading struct {
	node  Node
	chain *Chain
	begun []func() error // end what plugins began already in their setup
}

// setup lets the plugins read their options, in the order in which queries
// pass them.
func (l *loading) setup(c *caddy.Controller, blocks []caddyfile.ServerBlock) error {
	enter := func(i int) {
		c.ServerBlockIndex, c.ServerBlockKeyIndex, c.ServerBlockKeys, c.Key = i, 0, blocks[i].Keys, blocks[i].Keys[0]
	}
	for i := range blocks {
		enter(i)
		if err := checkAddresses(c); err != nil {
			return err
		}
	}
	for _, directive := range dnsserver.Directives {
		for i, b := range blocks {
			enter(i)
			c.Dispenser = caddyfile.NewDispenserTokens(fileName, b.Tokens[directive])
			if directive == "prometheus" {
				count(c)
			}
			if len(b.Tokens[directive]) == 0 {
				continue
			}
			before := len(l.chain.instance.OnShutdown)
			own := *c // plugins keep it
			if err := l.plugin(directive, &own); err != nil {
				return located(err, own.Line())
			}
			if directive == "hosts" { // the only one that begins work here
				l.begun = append(l.begun, l.chain.instance.OnShutdown[before:]...)
			}
		}
	}
	return nil
}

func (l *loading) abandon() error {
	var errs []error
	for _, f := range l.begun {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// checkAddresses refuses server blocks for other protocols or ports: the node
// listens, not CoreDNS.
func checkAddresses(c *caddy.Controller) error {
	for i, key := range c.ServerBlockKeys {
		c.ServerBlockKeyIndex = i
		if cfg := dnsserver.GetConfig(c); cfg.Transport != transport.DNS || cfg.Port != transport.Port {
			return fmt.Errorf("%s: server block %s: only plain DNS at port %s is served", fileName, key, transport.Port)
		}
	}
	return nil
}

// located adds the line to an error of a plugin that does not say it.
func located(err error, line int) error {
	if strings.Contains(err.Error(), fileName+":") {
		return err
	}
	return fmt.Errorf("%s:%d: %w", fileName, line, err)
}

// instances are those that caddy is making, by their contexts: CoreDNS's
// context does not know its instance.
var instances sync.Map

// serverType is CoreDNS, as "dns" is, with instances that are ours.
const serverType = "skiff-dns"

func init() {
	caddy.RegisterServerType(serverType, caddy.ServerType{
		Directives: func() []string { return dnsserver.Directives },
		NewContext: func(i *caddy.Instance) caddy.Context {
			ctx := caddy.NewTestController("dns", "").Context()
			instances.Store(ctx, i)
			return ctx
		},
	})
}

// newController returns what plugins are set up by. Caddy makes one alone, and
// not its servers with it, by this function only.
func newController() (*caddy.Controller, *caddy.Instance) {
	c := caddy.NewTestController(serverType, "")
	i, _ := instances.LoadAndDelete(c.Context())
	return c, i.(*caddy.Instance)
}
