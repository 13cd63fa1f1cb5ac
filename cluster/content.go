package cluster

import (
	"context"
	"crypto/x509/pkix"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/skiffcluster/skiff/cluster/manifests"
	"github.com/skiffcluster/skiff/cluster/webhooks"
)

// FieldManager owns the fields of what a Config's objects say.
const FieldManager = "skiff"

// Webhooks are answered by a server on this machine instead of the services
// that their configurations name.
type Webhooks struct {
	// Manifests are files, or directories of them, of webhook configurations,
	// as controller-gen writes config/webhook/manifests.yaml. Those among
	// Config.Manifests and Config.Objects are meant as well.
	Manifests []string
	// Host is the server's address. Default 127.0.0.1.
	Host string
	// Port is the server's. Default: a free one, which nobody else is given
	// until Stop.
	Port int
	// CertDir is where the server's tls.crt and tls.key are written. Default:
	// a temporary directory that Stop removes.
	CertDir string
}

// Webhooks says where the server of Config.Webhooks has to listen and where
// its certificate is.
func (c *Cluster) Webhooks() Webhooks { return *c.config.Webhooks }

// WebhookServer is what controller-runtime's manager needs to answer
// Config.Webhooks: ctrl.Options{WebhookServer: c.WebhookServer()}. Each manager
// needs one of its own.
func (c *Cluster) WebhookServer() webhook.Server {
	w := c.Webhooks()
	return webhook.NewServer(webhook.Options{Host: w.Host, Port: w.Port, CertDir: w.CertDir})
}

// readContent reads what the cluster is to begin with, before anything starts: a
// file that is wrong costs no time then.
func (c *Cluster) readContent() ([]*unstructured.Unstructured, error) {
	crds, err := manifests.Read(c.config.CRDs...)
	if err != nil {
		return nil, err
	}
	all := slices.DeleteFunc(crds, func(o *unstructured.Unstructured) bool { return o.GetKind() != "CustomResourceDefinition" })
	files := c.config.Manifests
	if c.config.Webhooks != nil {
		files = append(slices.Clone(files), c.config.Webhooks.Manifests...)
	}
	further, err := manifests.Read(files...)
	if err != nil {
		return nil, err
	}
	objects, err := manifests.FromObjects(c.config.Scheme, c.config.Objects...)
	if err != nil {
		return nil, err
	}
	all = append(append(all, further...), objects...)
	if c.config.Webhooks == nil {
		return all, nil
	}
	target, err := c.prepareWebhooks()
	if err != nil {
		return nil, err
	}
	if c.config.Scheme != nil {
		if err := webhooks.Convert(all, c.config.Scheme, target); err != nil {
			return nil, err
		}
	}
	_, err = webhooks.Point(all, target)
	return all, err
}

// prepareWebhooks finds the server's place and writes its certificate.
func (c *Cluster) prepareWebhooks() (webhooks.Target, error) {
	w := *c.config.Webhooks
	if w.Host == "" {
		w.Host = "127.0.0.1"
	}
	if w.Port == 0 {
		r, err := webhooks.Reserve(w.Host)
		if err != nil {
			return webhooks.Target{}, err
		}
		c.release = append(c.release, r.Release)
		w.Port = r.Port
	}
	if w.CertDir == "" {
		w.CertDir = c.dir("webhooks")
	}
	if err := os.MkdirAll(w.CertDir, 0o700); err != nil {
		return webhooks.Target{}, fmt.Errorf("directory of the webhooks' certificate: %w", err)
	}
	leaf, err := c.pki.Serving("webhooks", pkix.Name{CommonName: "webhooks"}, w.Host, "localhost")
	if err != nil {
		return webhooks.Target{}, err
	}
	pair := leaf.Current()
	for name, data := range map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key} {
		if err := os.WriteFile(filepath.Join(w.CertDir, name), data, 0o600); err != nil {
			return webhooks.Target{}, fmt.Errorf("certificate of the webhooks: %w", err)
		}
	}
	c.config.Webhooks = &w
	return webhooks.Target{Host: w.Host, Port: w.Port, CA: c.pki.CA()}, nil
}

// applyContent writes what the cluster is to begin with and waits until it is
// in force.
func (c *Cluster) applyContent(ctx context.Context, objs []*unstructured.Unstructured) error {
	a, err := manifests.NewApplier(c.RESTConfig(), FieldManager)
	if err != nil {
		return err
	}
	if err := a.Apply(ctx, objs); err != nil {
		return err
	}
	if c.api == nil {
		return nil // it is in force with each master in its own time
	}
	return c.api.Settle(ctx)
}
