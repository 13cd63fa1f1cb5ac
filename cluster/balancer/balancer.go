package balancer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/util/connrotation"
)

const (
	// dialTimeout is how long a server may take for TCP and TLS: one that is
	// stopped accepts connections and says nothing.
	dialTimeout = time.Second
	// headStart is how long a server has before the next one is tried beside it.
	headStart = 200 * time.Millisecond
	// silent is after how long without a byte a server is asked for a sign of
	// life, and how long that may take.
	silent, patience = 500 * time.Millisecond, 750 * time.Millisecond
	// checkEvery is how often a server that answers is asked whether it is
	// ready: one that is cut off from the others is not.
	checkEvery, checkTimeout = 2 * time.Second, 2 * time.Second
)

// serverName is what the certificate of every API server names.
const serverName = "kubernetes"

// Balancer is a way to one of several servers.
type Balancer struct {
	tls       *tls.Config
	dialer    *connrotation.Dialer
	through   *connrotation.Dialer // for what Forward passes on
	transport *http.Transport

	mu      sync.Mutex
	servers []string // host:port; the first is the one in use
}

// New makes one for servers, host:port or URLs. c says whom to trust and, for
// clients that have one, the certificate.
func New(servers []string, c *tls.Config) (*Balancer, error) {
	b := &Balancer{tls: c.Clone()}
	for _, s := range servers {
		host, err := hostPort(s)
		if err != nil {
			return nil, err
		}
		b.servers = append(b.servers, host)
	}
	if len(b.servers) == 0 {
		return nil, errors.New("there is no server to reach")
	}
	b.tls.ServerName, b.tls.NextProtos = serverName, []string{"h2", "http/1.1"}
	b.dialer = connrotation.NewDialer((&net.Dialer{KeepAlive: 30 * time.Second}).DialContext)
	b.through = connrotation.NewDialer(newSteadfast().DialContext)
	b.transport = &http.Transport{
		DialTLSContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return b.dial(ctx, network, b.connect)
		},
		ForceAttemptHTTP2: true, IdleConnTimeout: 90 * time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: silent, PingTimeout: patience},
	}
	return b, nil
}

// hostPort reads https://host:port or host:port.
func hostPort(s string) (string, error) {
	host := s
	if u, err := url.Parse(s); err == nil && u.Scheme == "https" {
		host = u.Host
		if u.Port() == "" {
			host = net.JoinHostPort(u.Hostname(), "443")
		}
	}
	if _, _, err := net.SplitHostPort(host); err != nil {
		return "", fmt.Errorf("server %q is not a URL such as https://10.0.0.1:6443", s)
	}
	return host, nil
}

// RESTConfig is for clients that go by it, with a bearer token unless empty.
func (b *Balancer) RESTConfig(bearer string) *restclient.Config {
	return &restclient.Config{Host: "https://" + serverName, Transport: again{b.transport}, BearerToken: bearer, QPS: -1}
}

// attempt is how a connection to a server went.
type attempt struct {
	server string
	conn   net.Conn
	err    error
}

// dial connects to the server in use, or to the next that answers: each has a
// head start on the one after it, or until it has failed.
func (b *Balancer) dial(ctx context.Context, network string, connect connrotation.DialFunc) (net.Conn, error) {
	servers := b.Servers()
	attempts := make(chan attempt, len(servers))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var errs []error
	var next <-chan time.Time
	for begun := 0; ; {
		if begun < len(servers) && (begun == len(errs) || next == nil) {
			s := servers[begun]
			go func() {
				once, cancel := context.WithTimeout(ctx, dialTimeout)
				defer cancel()
				c, err := connect(once, network, s)
				attempts <- attempt{s, c, err}
			}()
			begun++
			next = time.After(headStart)
		}
		select {
		case a := <-attempts:
			if a.err == nil {
				b.use(a.server)
				go closeOthers(attempts, begun-len(errs)-1)
				return a.conn, nil
			}
			if errs = append(errs, fmt.Errorf("%s: %w", a.server, a.err)); len(errs) == len(servers) {
				return nil, errors.Join(errs...)
			}
		case <-next:
			next = nil
		}
	}
}

// closeOthers closes connections that came too late.
func closeOthers(attempts <-chan attempt, n int) {
	for range n {
		if a := <-attempts; a.conn != nil {
			_ = a.conn.Close()
		}
	}
}

func (b *Balancer) connect(ctx context.Context, network, server string) (net.Conn, error) {
	raw, err := b.dialer.DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	c := tls.Client(raw, b.tls)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

// Servers are all that are known, the one in use first.
func (b *Balancer) Servers() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.servers)
}

// use puts a server first and keeps the order of the others.
func (b *Balancer) use(server string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if i := slices.Index(b.servers, server); i > 0 {
		b.servers = slices.Concat(b.servers[i:], b.servers[:i])
	}
}

// Set replaces the servers. The one in use stays in use while it is among them.
// None leaves all as it is.
func (b *Balancer) Set(servers []string) {
	if len(servers) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.servers = plan(b.servers, servers)
}

// plan keeps the order of those that were there.
func plan(have, want []string) []string {
	out := slices.DeleteFunc(slices.Clone(have), func(s string) bool { return !slices.Contains(want, s) })
	for _, s := range want {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// Drop ends all connections, also those that were passed on; the next ones go to
// the next server.
func (b *Balancer) Drop() {
	b.mu.Lock()
	if len(b.servers) > 1 {
		b.servers = slices.Concat(b.servers[1:], b.servers[:1])
	}
	b.mu.Unlock()
	b.through.CloseAll()
	b.Reconnect()
}

// Reconnect ends all connections of clients that go by RESTConfig, as when they
// have a new certificate.
func (b *Balancer) Reconnect() {
	b.dialer.CloseAll()
	b.transport.CloseIdleConnections()
}

// Run asks the server in use, again and again until ctx ends, whether it is
// ready, and goes to the next when it is not.
func (b *Balancer) Run(ctx context.Context) {
	defer b.Reconnect()
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if len(b.Servers()) > 1 && b.check(ctx) != nil && ctx.Err() == nil {
				b.Drop()
			}
		}
	}
}

func (b *Balancer) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+serverName+"/readyz", nil)
	if err != nil {
		return err
	}
	answer, err := b.transport.RoundTrip(r)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }()
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", answer.Status)
	}
	return nil
}
