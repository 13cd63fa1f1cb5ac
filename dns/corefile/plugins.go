package corefile

import (
	"fmt"
	"slices"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin"
	"github.com/coredns/coredns/plugin/metrics"

	"github.com/skiffcluster/skiff/dns/kubernetes"

	// CoreDNS's plugins that are served as they are. Their setup is found by
	// their names.
	_ "github.com/coredns/coredns/plugin/acl"
	_ "github.com/coredns/coredns/plugin/any"
	_ "github.com/coredns/coredns/plugin/auto"
	_ "github.com/coredns/coredns/plugin/autopath"
	_ "github.com/coredns/coredns/plugin/bufsize"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/cancel"
	_ "github.com/coredns/coredns/plugin/chaos"
	_ "github.com/coredns/coredns/plugin/dns64"
	_ "github.com/coredns/coredns/plugin/erratic"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/file"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/header"
	_ "github.com/coredns/coredns/plugin/hosts"
	_ "github.com/coredns/coredns/plugin/loadbalance"
	_ "github.com/coredns/coredns/plugin/local"
	_ "github.com/coredns/coredns/plugin/log"
	_ "github.com/coredns/coredns/plugin/metadata"
	_ "github.com/coredns/coredns/plugin/minimal"
	_ "github.com/coredns/coredns/plugin/nsid"
	_ "github.com/coredns/coredns/plugin/rewrite"
	_ "github.com/coredns/coredns/plugin/root"
	_ "github.com/coredns/coredns/plugin/secondary"
	_ "github.com/coredns/coredns/plugin/sign"
	_ "github.com/coredns/coredns/plugin/template"
	_ "github.com/coredns/coredns/plugin/transfer"
	_ "github.com/coredns/coredns/plugin/view"
	_ "github.com/coredns/coredns/plugin/whoami"
)

// decided are plugins whose work the node does itself, with the options that
// CoreDNS has for them: these may be there and change nothing.
var decided = map[string][]string{
	"bind":        {"except"},                                 // the cluster DNS address
	"health":      {"lameduck"},                               // the node's own health
	"loop":        nil,                                        // always looked for; CoreDNS's ends the process
	"multisocket": nil,                                        // one socket
	"prometheus":  {"runtime_metrics", "tls"},                 // always counted, served where the node is told to
	"ready":       {"monitor"},                                // Server.Ready
	"reload":      nil,                                        // at once when the ConfigMap changes
	"timeouts":    {"read", "write", "idle", "maxtcpqueries"}, // the node's sockets
}

// refused are plugins that a node can't have, with the reason. The others of
// CoreDNS that are not linked need a client of something else, often of a
// cloud.
var refused = map[string]string{
	"debug":       "a fault would end the process of the node",
	"tsig":        "keys are of sockets, which the node opens",
	"tls":         "only plain DNS is served",
	"quic":        "only plain DNS is served",
	"https":       "only plain DNS is served",
	"https3":      "only plain DNS is served",
	"grpc_server": "only plain DNS is served",
	"proxyproto":  "only plain DNS is served",
}

// plugin sets up a plugin from its stanzas in one server block. A mistake that
// a plugin did not think of must not end the process.
func (l *loading) plugin(name string, c *caddy.Controller) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("plugin %s can't read its options: %v", name, r)
		}
	}()
	switch name {
	case "kubernetes":
		return l.kubernetes(c)
	case "forward":
		return l.forward(c)
	case "hosts":
		return hosts(c)
	}
	if options, ok := decided[name]; ok {
		return skip(c, options)
	}
	setup, err := caddy.DirectiveAction("dns", name)
	if why := refused[name]; why != "" {
		return refuse(c, ": "+why)
	} else if err != nil {
		return refuse(c, "")
	}
	return setup(c)
}

func refuse(c *caddy.Controller, why string) error {
	c.Next()
	return c.Errf("plugin %q is not supported%s", c.Val(), why)
}

// skip reads a plugin that changes nothing. An option that it does not have is
// an error nevertheless.
func skip(c *caddy.Controller, options []string) error {
	for c.Next() {
		c.RemainingArgs()
		for c.NextBlock() {
			if !slices.Contains(options, c.Val()) {
				return c.Errf("unknown property '%s'", c.Val())
			}
			c.RemainingArgs()
		}
	}
	return nil
}

// count counts the queries and answers of a server block, whether the Corefile
// asks for it or not.
func count(c *caddy.Controller) {
	zones := plugin.OriginsFromArgsOrServerBlock(nil, c.ServerBlockKeys)
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		m := metrics.New("") // its listener is opened by its setup, which is not run
		for _, z := range zones {
			m.AddZone(z)
		}
		m.Next = next
		return m
	})
}

func (l *loading) kubernetes(c *caddy.Controller) error {
	p, err := kubernetes.Parse(c, l.node.Names)
	if err != nil {
		return plugin.Error("kubernetes", err)
	}
	l.chain.NeedsPods = l.chain.NeedsPods || p.NeedsPods()
	dnsserver.GetConfig(c).AddPlugin(func(next plugin.Handler) plugin.Handler {
		p.Next = next
		return p
	})
	return nil
}

// hosts reads no file unless one is named: the default would be the node's own
// /etc/hosts, where CoreDNS has that of its pod.
func hosts(c *caddy.Controller) error {
	tokens := rest(c)
	if len(tokens) == 1 || tokens[1].Text == "{" || tokens[1].Line != tokens[0].Line {
		none := tokens[0]
		none.Text = "/dev/null"
		tokens = slices.Insert(tokens, 1, none)
	}
	return withTokens(c, "hosts", tokens)
}
