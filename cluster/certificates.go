package cluster

import (
	"slices"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"

	"github.com/skiffcluster/skiff/cluster/pki"
)

// certificates keeps the cluster's certificates from ending.
type certificates struct{ *pki.Store }

// Ready implements component.
func (certificates) Ready() <-chan struct{} { return always }

var always = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

// renewing shows the API server's clients the certificate that is current.
type renewing struct {
	leaf *pki.Leaf
	// ca is shown as well: those who join know it by its hash only.
	ca []byte
}

// Name implements dynamiccertificates.CertKeyContentProvider.
func (renewing) Name() string { return "serving" }

// CurrentCertKeyContent implements dynamiccertificates.CertKeyContentProvider.
func (r renewing) CurrentCertKeyContent() (cert, key []byte) {
	p := r.leaf.Current()
	return slices.Concat(p.Cert, r.ca), p.Key
}

// AddListener implements dynamiccertificates.Notifier.
func (r renewing) AddListener(l dynamiccertificates.Listener) { r.leaf.Notify(l.Enqueue) }
