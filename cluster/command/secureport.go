package command

import (
	"context"
	"crypto/tls"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/pflag"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/cluster/pki"
	"github.com/skiffcluster/skiff/cluster/secured"
)

// securePort is where a room tells of its health and metrics, as Kubernetes'
// controller manager and scheduler do; nowhere while the port is 0.
type securePort struct {
	bind string
	port int
	cert string
	key  string
}

// flags adds upstream's flags, or for a process of several rooms those with the
// room's name before them.
func (p *securePort) flags(f *pflag.FlagSet, room string, usual int) {
	prefix := ""
	if room != "" {
		prefix = room + "-"
	}
	f.StringVar(&p.bind, prefix+"bind-address", "0.0.0.0", "address of --"+prefix+"secure-port")
	f.IntVar(&p.port, prefix+"secure-port", 0, "serve /healthz, /livez, /readyz and, to those who may, /metrics here by HTTPS ("+strconv.Itoa(usual)+" as Kubernetes does; 0: nowhere)")
	if room == "" {
		f.StringVar(&p.cert, "tls-cert-file", "", "certificate of --secure-port (default: one of its own)")
		f.StringVar(&p.key, "tls-private-key-file", "", "key of --tls-cert-file")
	}
}

// serve begins to serve.
func (p *securePort) serve(ctx context.Context, name string, rest *restclient.Config, ready <-chan struct{}, metrics prometheus.Gatherer) (stop func(), err error) {
	if p.port == 0 {
		return func() {}, nil
	}
	config, err := p.tls(name)
	if err != nil {
		return nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort(p.bind, strconv.Itoa(p.port)))
	if err != nil {
		return nil, fmt.Errorf("health and metrics of %s: %w", name, err)
	}
	return secured.Serve(ctx, secured.Config{Listener: listener, TLS: config, REST: rest, Ready: ready, Metrics: metrics})
}

func (p *securePort) tls(name string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if p.cert != "" || p.key != "" {
		pair, err := tls.LoadX509KeyPair(p.cert, p.key)
		if err != nil {
			return nil, usageError{fmt.Errorf("--tls-cert-file, --tls-private-key-file: %w", err)}
		}
		c.Certificates = []tls.Certificate{pair}
		return c, nil
	}
	store, err := pki.Open("", clock.RealClock{})
	if err != nil {
		return nil, err
	}
	leaf, err := store.Serving(name, pkix.Name{CommonName: name}, "localhost", "127.0.0.1", "::1")
	if err != nil {
		return nil, err
	}
	c.GetCertificate = leaf.ServerCertificate
	return c, nil
}
