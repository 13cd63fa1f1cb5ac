package corefile

import (
	"context"
	"errors"
	"runtime"
	"sync"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/plugin/forward"
	"github.com/miekg/dns"
)

// Chain answers queries as a Corefile says. It does not change.
type Chain struct {
	// Upstreams are the servers that it forwards to by plain DNS, address:port.
	Upstreams []string
	// NeedsPods tells whether the zone must know pods.
	NeedsPods bool

	instance *caddy.Instance
	server   *dnsserver.Server
	forwards []*forward.Forward
	inUse    sync.RWMutex // read: a query is under way; write, for ever: closed
}

// start runs what plugins do when they start. All of it is run, whatever fails,
// as some plugins wait at their end for what they began.
func (c *Chain) start() error {
	var errs []error
	for _, f := range append(c.instance.OnFirstStartup, c.instance.OnStartup...) {
		errs = append(errs, f())
	}
	if err := errors.Join(errs...); err != nil {
		return errors.Join(err, c.Close())
	}
	return nil
}

// ServeDNS answers a query. It returns false and answers nothing when the chain
// is closed: another is in force.
func (c *Chain) ServeDNS(ctx context.Context, w dns.ResponseWriter, req *dns.Msg) bool {
	if !c.inUse.TryRLock() {
		return false
	}
	defer c.inUse.RUnlock()
	ctx = context.WithValue(ctx, dnsserver.Key{}, c.server)
	ctx = context.WithValue(ctx, dnsserver.LoopKey{}, 0)
	c.server.ServeDNS(ctx, w, req)
	return true
}

// Close waits for the queries under way and ends what the plugins have started.
func (c *Chain) Close() error {
	c.inUse.Lock()
	var errs []error
	for _, f := range append(c.instance.OnShutdown, c.instance.OnFinalShutdown...) {
		errs = append(errs, f())
	}
	for _, f := range c.forwards {
		for _, p := range f.List() {
			// Its connections and their keeper would otherwise stay until the
			// garbage collector finds it.
			runtime.SetFinalizer(p, nil)
			p.GetTransport().Stop()
		}
	}
	return errors.Join(errs...)
}
