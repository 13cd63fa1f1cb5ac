package cluster

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/skiffcluster/skiff/cluster/pki"
)

// Listen serves the API by HTTPS on address too, "127.0.0.1:0" for any free
// port, until Stop. A cluster that listens already stays where it is.
func (c *Cluster) Listen(address string) error {
	c.listening.Lock()
	defer c.listening.Unlock()
	if c.listener() != nil {
		return nil
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listen for the API: %w", err)
	}
	if c.way != nil {
		c.socket = &socket{listener: l}
		return c.run(context.Background(), "listener", background{func(ctx context.Context) error { return c.way.Forward(ctx, l) }})
	}
	a := c.config.APIServer
	a.Listener = l
	leaf, err := c.servingCertificate(a)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	s := &socket{listener: l, handler: c.api.Handler(), certificate: leaf, ready: make(chan struct{})}
	if err := c.run(context.Background(), "listener", s); err != nil {
		return err
	}
	c.socket = s
	return nil
}

// listener is where the API is served; nil when it is in this process only.
func (c *Cluster) listener() net.Listener {
	if c.socket != nil {
		return c.socket.listener
	}
	return c.config.APIServer.Listener
}

// socket serves a handler by HTTPS.
type socket struct {
	listener    net.Listener
	handler     http.Handler
	certificate *pki.Leaf
	ready       chan struct{}
}

// Ready implements component.
func (s *socket) Ready() <-chan struct{} { return s.ready }

// Run implements component. Its end ends all connections: most are watches,
// which would never end.
func (s *socket) Run(ctx context.Context) error {
	server := &http.Server{
		Handler: s.handler, ReadHeaderTimeout: 30 * time.Second,
		TLSConfig: &tls.Config{
			MinVersion: tls.VersionTLS12, GetCertificate: s.certificate.ServerCertificate,
			ClientAuth: tls.RequestClientCert, // the API server looks at it itself
		},
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	close(s.ready)
	if err := server.ServeTLS(s.listener, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the API: %w", err)
	}
	return nil
}

// Kubeconfig gives an administrator's for clients in other processes, kubectl
// among them. A cluster that does not listen begins to, on a free port of
// 127.0.0.1.
func (c *Cluster) Kubeconfig() ([]byte, error) {
	access, err := c.Access()
	if err != nil {
		return nil, err
	}
	return access.Kubeconfig(c.config.Name)
}

// KubeconfigFile writes Kubeconfig to a file, readable by its owner only, and
// gives its path. Stop removes it unless the cluster's data stay.
func (c *Cluster) KubeconfigFile() (string, error) {
	raw, err := c.Kubeconfig()
	if err != nil {
		return "", err
	}
	path := c.dir("admin.conf")
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		return "", fmt.Errorf("write kubeconfig: %w", err)
	}
	return path, nil
}
