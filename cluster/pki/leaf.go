package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
)

// Leaf is a certificate that is made again before it ends: Current and the
// handshakes always give one that serves.
type Leaf struct {
	store    *Store
	name     string
	template *x509.Certificate

	mu        sync.Mutex
	pair      Pair
	loaded    *tls.Certificate
	retry     time.Time // not before, after a failure
	listeners []func()
}

// retryAfter is how long a renewal that failed is left alone; the certificate
// that is about to end goes on serving.
const retryAfter = time.Minute

// leaf gives the one of a name; another template replaces it.
func (s *Store) leaf(name string, t *x509.Certificate) (*Leaf, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l := &Leaf{store: s, name: name, template: t}
	if have := s.leaves[name]; have != nil {
		if s.current(have.Current(), t) {
			return have, nil
		}
		l.listeners = have.listeners
	}
	pair, err := s.make(name, t)
	if err != nil {
		return nil, err
	}
	if err := l.set(pair); err != nil {
		return nil, err
	}
	s.leaves[name] = l
	return l, nil
}

func (l *Leaf) set(p Pair) error {
	c, err := tls.X509KeyPair(p.Cert, p.Key)
	if err != nil {
		return fmt.Errorf("certificate of %s: %w", l.name, err)
	}
	if c.Leaf == nil {
		if c.Leaf, err = x509.ParseCertificate(c.Certificate[0]); err != nil {
			return fmt.Errorf("certificate of %s: %w", l.name, err)
		}
	}
	l.pair, l.loaded = p, &c
	return nil
}

// Current is the certificate with its key. One that is due is made again.
func (l *Leaf) Current() Pair {
	p, _ := l.current()
	return p
}

func (l *Leaf) current() (Pair, *tls.Certificate) {
	l.mu.Lock()
	changed := l.renew()
	p, c, told := l.pair, l.loaded, slices.Clone(l.listeners)
	l.mu.Unlock()
	if changed {
		for _, f := range told {
			f()
		}
	}
	return p, c
}

// renew makes the certificate again when it is due.
func (l *Leaf) renew() bool {
	now := l.store.clock.Now()
	if !l.store.due(l.loaded.Leaf) || now.Before(l.retry) {
		return false
	}
	pair, err := l.store.make(l.name, l.template)
	if err == nil {
		err = l.set(pair)
	}
	if err != nil {
		l.retry = now.Add(retryAfter)
		klog.Background().Error(err, "Certificate is not renewed", "name", l.name, "notAfter", l.loaded.Leaf.NotAfter)
		return false
	}
	klog.Background().Info("Certificate is renewed", "name", l.name, "notAfter", l.loaded.Leaf.NotAfter)
	return true
}

// Notify calls f after each renewal.
func (l *Leaf) Notify(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.listeners = append(l.listeners, f)
}

// ServerCertificate is for tls.Config.GetCertificate.
func (l *Leaf) ServerCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	_, c := l.current()
	return c, nil
}

// ClientCertificate is for tls.Config.GetClientCertificate.
func (l *Leaf) ClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	_, c := l.current()
	return c, nil
}

// checkEvery is how often Run looks for certificates that are due. It is an
// hour of the clock on the wall, which goes on while a machine sleeps.
const checkEvery = time.Hour

// Run renews the certificates that are due, also those that nobody asks for,
// until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := s.clock.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
			s.mu.Lock()
			var all []*Leaf
			for _, l := range s.leaves {
				all = append(all, l)
			}
			s.mu.Unlock()
			for _, l := range all {
				l.Current()
			}
		}
	}
}
