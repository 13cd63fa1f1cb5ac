package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net/http"
	"testing"
	"time"
)

func TestCertificates(t *testing.T) {
	ours, others := newTestCA(t, "ours"), newTestCA(t, "others")
	roots := ours.pool()

	a := newCertificates(func() (x509.VerifyOptions, bool) {

		return x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, true
	})
	ask := func(t *testing.T, leaf *x509.Certificate, want bool) {
		t.Helper()
		r := &http.Request{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}}
		for range 2 { // the second is answered from memory
			res, ok, err := a.AuthenticateRequest(r)
			if ok != want || (err == nil) != want {
				t.Fatalf("got %v, %v", ok, err)
			}
			if want && res.User.GetName() != leaf.Subject.CommonName {
				t.Fatalf("got user %q", res.User.GetName())
			}
		}
	}
	good, foreign := ours.sign(t, "ann", time.Hour), others.sign(t, "bob", time.Hour)
	ask(t, good, true)
	ask(t, foreign, false)
	ask(t, ours.sign(t, "late", -time.Minute), false)
	if res, ok, err := a.AuthenticateRequest(&http.Request{}); res != nil || ok || err != nil {
		t.Errorf("a request without certificate: %v, %v, %v", res, ok, err)
	}

	t.Run("a CA that is replaced takes its users away at once", func(t *testing.T) {
		roots = others.pool()
		ask(t, good, false)
		ask(t, foreign, true)
	})
	t.Run("what is remembered ends with the certificate", func(t *testing.T) {
		roots = ours.pool()
		short := ours.sign(t, "short", 1500*time.Millisecond)
		ask(t, short, true)
		r := &http.Request{TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{short}}}
		for deadline := time.Now().Add(10 * time.Second); ; {
			_, ok, _ := a.AuthenticateRequest(r)
			if !ok {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("an expired certificate is still accepted")
			}
		}
	})
}

type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t *testing.T, name string) testCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return testCA{cert, key}
}

func (c testCA) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

// sign makes a client certificate that is valid for some time from now.
func (c testCA) sign(t *testing.T, user string, valid time.Duration) *x509.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: user},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(valid), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, c.cert, &c.key.PublicKey, c.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
