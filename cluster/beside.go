package cluster

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/skiffcluster/skiff/cluster/balancer"
)

// startBeside starts what there is in this process of a cluster whose masters
// are processes of their own:
//
//	clients ── Listen ──┐
//	nodes, manifests ───┴─ way ── whichever master answers
//
// It goes to them as the administrator, and speaks for the users that its parts
// are: whoever has the CA's key could be any of them.
func (c *Cluster) startBeside(ctx context.Context, content []*unstructured.Unstructured) error {
	admin, err := c.pki.Client("admin", "kubernetes-admin", user.SystemPrivilegedGroup)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.pki.CA())
	way, err := balancer.New(c.config.Masters, &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, GetClientCertificate: admin.ClientCertificate})
	if err != nil {
		return fmt.Errorf("masters: %w", err)
	}
	admin.Notify(way.Reconnect)
	c.way = way
	if err := c.run(ctx, "certificates", certificates{c.pki}); err != nil {
		return err
	}
	if err := c.run(ctx, "way to the masters", background{func(ctx context.Context) error { way.Run(ctx); return nil }}); err != nil {
		return err
	}
	if c.config.Listen != "" {
		if err := c.Listen(c.config.Listen); err != nil {
			return err
		}
	}
	c.ready = time.Now()
	close(c.serving)
	if !slices.Contains(c.config.Without, Nodes) {
		if err := c.step(string(Nodes), func() error { return c.startNodes(ctx) }); err != nil {
			return err
		}
	}
	if len(content) == 0 {
		return nil
	}
	return c.step("manifests", func() error { return c.applyContent(ctx, content) })
}
