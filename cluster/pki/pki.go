// Package pki makes and keeps the cluster's keys and certificates: one CA,
// the API server's serving certificate, client certificates of people and
// agents, and the key that signs service-account tokens. All keys are ECDSA
// P-256: an RSA key takes 100 ms to make.
//
// Reads and writes files below one directory; keys are 0600. Start at Open.
package pki

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // a subject key identifier (RFC 5280 4.2.1.2) is no signature
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Lifetimes of certificates. Serving and client certificates are made again
// when two thirds of their life are over, so that a third is left for whatever
// keeps that from happening.
const (
	caLifetime   = 10 * 365 * 24 * time.Hour
	leafLifetime = 365 * 24 * time.Hour
	renewBefore  = leafLifetime / 3
	// backdate allows for clocks that differ between hosts.
	backdate = 5 * time.Minute
)

// Pair is a certificate with its key, both PEM.
type Pair struct{ Cert, Key []byte }

// Store holds a cluster's CA and what it signed. With an empty directory it is
// in memory only.
type Store struct {
	dir    string
	clock  clock.WithTicker
	ca     *x509.Certificate
	caKey  *ecdsa.PrivateKey
	caPair Pair

	mu     sync.Mutex
	leaves map[string]*Leaf
}

// Open reads the CA from dir or makes one. Certificates begin and end by c.
func Open(dir string, c clock.WithTicker) (*Store, error) {
	s := &Store{dir: dir, clock: c, leaves: map[string]*Leaf{}}
	if dir != "" {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("make directory of certificates: %w", err)
		}
	}
	pair, err := s.load("ca")
	if errors.Is(err, fs.ErrNotExist) && !s.exists("ca", ".crt") {
		pair, err = s.makeCA()
	}
	if err != nil {
		return nil, fmt.Errorf("cluster CA: %w", err)
	}
	s.caPair = pair
	if s.ca, s.caKey, err = parse(pair); err != nil {
		return nil, fmt.Errorf("cluster CA %s: %w", filepath.Join(dir, "ca.crt"), err)
	}
	return s, nil
}

// CA is the certificate that clients trust, PEM.
func (s *Store) CA() []byte { return s.caPair.Cert }

// CAPair is the CA with its key, for those who sign.
func (s *Store) CAPair() Pair { return s.caPair }

func (s *Store) makeCA() (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	now := s.clock.Now()
	t := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: "skiff-ca@" + fmt.Sprint(now.Unix())},
		NotBefore: now.Add(-backdate), NotAfter: now.Add(caLifetime),
		IsCA: true, BasicConstraintsValid: true, SubjectKeyId: keyIdentifier(&key.PublicKey),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return Pair{}, err
	}
	return s.save("ca", der, key)
}

// Serving gives a server's certificate for hosts, which are names or
// addresses. It is kept under name and made again when hosts change.
func (s *Store) Serving(name string, subject pkix.Name, hosts ...string) (*Leaf, error) {
	t := &x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return s.leaf(name, t)
}

// Client gives the certificate of a user in groups.
func (s *Store) Client(name, user string, groups ...string) (*Leaf, error) {
	return s.leaf(name, &x509.Certificate{
		Subject:     pkix.Name{CommonName: user, Organization: groups},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// make gives the certificate that is kept under name, or a new one when that
// does not serve.
func (s *Store) make(name string, t *x509.Certificate) (Pair, error) {
	if p, err := s.load(name); err == nil && s.current(p, t) {
		return p, nil
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, fmt.Errorf("key of %s: %w", name, err)
	}
	now := s.clock.Now()
	t.SerialNumber, t.NotBefore, t.NotAfter = serial(), now.Add(-backdate), now.Add(leafLifetime)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, t, s.ca, &key.PublicKey, s.caKey)
	if err != nil {
		return Pair{}, fmt.Errorf("sign certificate of %s: %w", name, err)
	}
	return s.save(name, der, key)
}

// due says whether it is time for a certificate's successor.
func (s *Store) due(c *x509.Certificate) bool { return c.NotAfter.Sub(s.clock.Now()) < renewBefore }

// current says whether a certificate that exists still serves.
func (s *Store) current(p Pair, want *x509.Certificate) bool {
	have, _, err := parse(p)
	if err != nil || s.due(have) || have.CheckSignatureFrom(s.ca) != nil {
		return false
	}
	addresses := func(ips []net.IP) (out []string) {
		for _, ip := range ips {
			out = append(out, ip.String())
		}
		return out
	}
	// A certificate keeps organizations in an order of its own.
	groups := func(c *x509.Certificate) []string { return slices.Sorted(slices.Values(c.Subject.Organization)) }
	return have.Subject.CommonName == want.Subject.CommonName && slices.Equal(groups(have), groups(want)) &&
		slices.Equal(have.DNSNames, want.DNSNames) &&
		slices.Equal(addresses(have.IPAddresses), addresses(want.IPAddresses))
}

// SigningKey gives the key kept under name, which is made once.
func (s *Store) SigningKey(name string) (*ecdsa.PrivateKey, error) {
	if s.dir != "" {
		raw, err := os.ReadFile(s.path(name, ".key"))
		if err == nil {
			k, err := parseKey(raw)
			if err != nil {
				return nil, fmt.Errorf("key %s: %w", s.path(name, ".key"), err)
			}
			return k, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("read key: %w", err)
		}
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key %s: %w", name, err)
	}
	raw, err := encodeKey(k)
	if err != nil {
		return nil, err
	}
	return k, s.write(name, ".key", raw, 0o600)
}

func (s *Store) path(name, suffix string) string { return filepath.Join(s.dir, name+suffix) }

// exists says whether there is a file. A CA whose key is lost must not be
// replaced by another: nobody would trust it.
func (s *Store) exists(name, suffix string) bool {
	if s.dir == "" {
		return false
	}
	_, err := os.Stat(s.path(name, suffix))
	return !errors.Is(err, fs.ErrNotExist)
}

func (s *Store) load(name string) (Pair, error) {
	if s.dir == "" {
		return Pair{}, fs.ErrNotExist
	}
	cert, err := os.ReadFile(s.path(name, ".crt"))
	if err != nil {
		return Pair{}, err
	}
	key, err := os.ReadFile(s.path(name, ".key"))
	if err != nil {
		return Pair{}, err
	}
	return Pair{cert, key}, nil
}

func (s *Store) save(name string, der []byte, key *ecdsa.PrivateKey) (Pair, error) {
	raw, err := encodeKey(key)
	if err != nil {
		return Pair{}, err
	}
	p := Pair{Cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), Key: raw}
	// The key first: a certificate without its key is of no use.
	if err := s.write(name, ".key", p.Key, 0o600); err != nil {
		return Pair{}, err
	}
	return p, s.write(name, ".crt", p.Cert, 0o644)
}

// write replaces a file as a whole, so that a crash leaves the old one.
func (s *Store) write(name, suffix string, data []byte, mode os.FileMode) error {
	if s.dir == "" {
		return nil
	}
	path := s.path(name, suffix)
	temp := path + ".new"
	if err := os.WriteFile(temp, data, mode); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func encodeKey(k *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}), nil
}

func parseKey(raw []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
		return k, nil
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ec, ok := k.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("a %T: only ECDSA keys are used", k)
	}
	return ec, nil
}

func parse(p Pair) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(p.Cert)
	if block == nil {
		return nil, nil, errors.New("certificate is not a PEM file")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, err := parseKey(p.Key)
	if err != nil {
		return nil, nil, fmt.Errorf("key: %w", err)
	}
	pub, ok := cert.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(&key.PublicKey) {
		return nil, nil, errors.New("key does not belong to the certificate")
	}
	return cert, key, nil
}

func serial() *big.Int {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		panic(err) // the kernel gives no random numbers: nothing can be secret
	}
	return n.Add(n, big.NewInt(1))
}

func keyIdentifier(k *ecdsa.PublicKey) []byte {
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		return nil
	}
	sum := sha1.Sum(bytes.TrimSpace(der)) //nolint:gosec // as above
	return sum[:]
}
