package dns

import (
	"context"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/skiffcluster/skiff/internal/netns"
)

// probeTime is how long a server may take to show that it asks us.
const probeTime = 2 * time.Second

// loops are the upstream servers that forward to us. CoreDNS's plugin for them
// ends the process when there is one; here it is not asked any more.
type loops struct {
	mu     sync.Mutex
	probes map[string]string // names that only we ask for → whom we asked
	found  map[string]bool   // by address:port
}

func (l *loops) has(addr string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.found[addr]
}

// probe asks a server for a name that nobody else asks for, and tells whether
// the query came back.
func (l *loops) probe(ctx context.Context, netNS, addr string) bool {
	name := strconv.FormatUint(rand.Uint64(), 10) + "." + strconv.FormatUint(rand.Uint64(), 10) + "."
	l.mu.Lock()
	if l.probes == nil {
		l.probes, l.found = map[string]string{}, map[string]bool{}
	}
	l.probes[name] = addr
	l.mu.Unlock()
	ask(ctx, netNS, addr, new(dns.Msg).SetQuestion(name, dns.TypeHINFO))
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.probes, name)
	return l.found[addr]
}

// cameBack tells whether a query is a probe, and remembers who was asked.
func (l *loops) cameBack(req *dns.Msg) bool {
	if len(req.Question) != 1 || req.Question[0].Qtype != dns.TypeHINFO {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	addr, ok := l.probes[dns.CanonicalName(req.Question[0].Name)]
	if ok {
		l.found[addr] = true
	}
	return ok
}

// ask waits until the server has answered; what it answers does not matter.
func ask(ctx context.Context, netNS, addr string, query *dns.Msg) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var conn net.Conn
	err := netns.Do(netNS, func() (err error) {
		conn, err = (&net.Dialer{}).DialContext(ctx, "udp", addr)
		return err
	})
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	_, _, _ = (&dns.Client{Timeout: probeTime}).ExchangeWithConnContext(ctx, query, &dns.Conn{Conn: conn})
}
