package auth

import (
	"crypto/x509"
	"net/http"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/cache"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	x509request "k8s.io/apiserver/pkg/authentication/request/x509"
)

// verifiedFor is how long a client certificate's verification is remembered,
// and no longer than the certificate is valid.
const verifiedFor = time.Minute

// certificates authenticates by client certificate: the common name is the
// user, organizations are groups. All requests of one connection show the same
// certificate, and to verify its signature takes 60 µs, a quarter of what a
// get costs; so that is done once a minute, and at once when the CA changes.
type certificates struct {
	options x509request.VerifyOptionFunc
	verify  authenticator.Request

	mu       sync.Mutex
	roots    *x509.CertPool
	verified *cache.Expiring // by certificate, under roots
}

func newCertificates(options x509request.VerifyOptionFunc) *certificates {
	return &certificates{options: options, verify: x509request.NewDynamic(options, x509request.CommonNameUserConversion)}
}

// AuthenticateRequest implements authenticator.Request.
func (c *certificates) AuthenticateRequest(r *http.Request) (*authenticator.Response, bool, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return nil, false, nil
	}
	options, ok := c.options()
	if !ok {
		return nil, false, nil
	}
	verified := c.under(options.Roots)
	leaf := r.TLS.PeerCertificates[0] // the same pointer for all of a connection
	if known, ok := verified.Get(leaf); ok {
		return known.(*authenticator.Response), true, nil
	}
	res, ok, err := c.verify.AuthenticateRequest(r)
	if ok && err == nil {
		verified.Set(leaf, res, min(verifiedFor, time.Until(leaf.NotAfter)))
	}
	return res, ok, err
}

// under gives what was verified under some roots: nothing, when they are new.
func (c *certificates) under(roots *x509.CertPool) *cache.Expiring {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.verified == nil || !roots.Equal(c.roots) {
		c.roots, c.verified = roots, cache.NewExpiring()
	}
	return c.verified
}
