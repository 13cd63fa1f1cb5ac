package pki

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net"
	"path/filepath"
)

// Peer gives a certificate for both sides of a connection: of servers that are
// each other's clients. It is kept under name and made again when hosts change.
func (s *Store) Peer(name string, subject pkix.Name, hosts ...string) (*Leaf, error) {
	t := &x509.Certificate{Subject: subject, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return s.leaf(name, t)
}

// Files are where a certificate and its key are kept.
func (s *Store) Files(name string) (cert, key string) {
	return s.path(name, ".crt"), s.path(name, ".key")
}

// Shared says whether a file below a cluster's directory of certificates is the
// whole cluster's: CAs and keys that stand alone are, certificates of servers
// and clients are one machine's own.
func Shared(path string, exists func(path string) bool, cert func(path string) *x509.Certificate) bool {
	base := path[:len(path)-len(filepath.Ext(path))]
	switch filepath.Ext(path) {
	case ".key":
		if !exists(base + ".crt") {
			return true
		}
	case ".crt":
	default:
		return filepath.Ext(path) != ".new"
	}
	c := cert(base + ".crt")
	return c != nil && c.IsCA
}
