package pki_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"

	"github.com/skiffcluster/skiff/cluster/pki"
)

func open(t *testing.T, dir string) *pki.Store {
	t.Helper()
	s, err := pki.Open(dir, clock.RealClock{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t *testing.T, raw []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(raw)
	if block == nil {
		t.Fatal("no PEM")
	}
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCertificatesAreWhatTheyAreFor(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		s := open(t, dir)
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(s.CA())
		server, err := s.Serving("server", pkix.Name{CommonName: "server"}, "localhost", "127.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		client, err := s.Client("client", "ann", "devs", "ops")
		if err != nil {
			t.Fatal(err)
		}
		verify := func(raw []byte, host string, use x509.ExtKeyUsage) error {
			_, err := parse(t, raw).Verify(x509.VerifyOptions{DNSName: host, Roots: roots, KeyUsages: []x509.ExtKeyUsage{use}})
			return err
		}
		for _, c := range []struct {
			name string
			err  error
			ok   bool
		}{
			{"the server by its name", verify(server.Current().Cert, "localhost", x509.ExtKeyUsageServerAuth), true},
			{"the server by its address", verify(server.Current().Cert, "127.0.0.1", x509.ExtKeyUsageServerAuth), true},
			{"the server by another name", verify(server.Current().Cert, "example.com", x509.ExtKeyUsageServerAuth), false},
			{"the server as a client", verify(server.Current().Cert, "", x509.ExtKeyUsageClientAuth), false},
			{"the client", verify(client.Current().Cert, "", x509.ExtKeyUsageClientAuth), true},
			{"the client as a server", verify(client.Current().Cert, "", x509.ExtKeyUsageServerAuth), false},
		} {
			if (c.err == nil) != c.ok {
				t.Errorf("%s: %v", c.name, c.err)
			}
		}
		if who := parse(t, client.Current().Cert).Subject; who.CommonName != "ann" || !slices.Equal(slices.Sorted(slices.Values(who.Organization)), []string{"devs", "ops"}) {
			t.Errorf("%s", who)
		}
	}
}

func TestWhatServesIsKeptAndTheRestMadeAgain(t *testing.T) {
	dir := t.TempDir()
	first := open(t, dir)
	get := func(s *pki.Store, hosts ...string) []byte {
		t.Helper()
		p, err := s.Serving("server", pkix.Name{CommonName: "server"}, hosts...)
		if err != nil {
			t.Fatal(err)
		}
		return p.Current().Cert
	}
	before := get(first, "a", "10.0.0.1")
	again := open(t, dir)
	if !slices.Equal(first.CA(), again.CA()) {
		t.Error("the CA changed")
	}
	if !slices.Equal(get(again, "a", "10.0.0.1"), before) {
		t.Error("made again without need")
	}
	if slices.Equal(get(again, "a", "10.0.0.2"), before) {
		t.Error("kept for another address")
	}
	for name, damage := range map[string]func(){
		"an empty certificate":          func() { write(t, filepath.Join(dir, "server.crt"), "") },
		"a broken key":                  func() { write(t, filepath.Join(dir, "server.key"), "x") },
		"a key that is gone":            func() { _ = os.Remove(filepath.Join(dir, "server.key")) },
		"the key of another":            func() { copyFile(t, filepath.Join(dir, "ca.key"), filepath.Join(dir, "server.key")) },
		"a certificate of another's CA": func() { write(t, filepath.Join(dir, "server.crt"), string(get(open(t, ""), "a"))) },
	} {
		t.Run(name, func(t *testing.T) {
			before := get(open(t, dir), "a")
			damage()
			after := get(open(t, dir), "a")
			if slices.Equal(before, after) {
				t.Error("kept")
			}
			if !slices.Equal(get(open(t, dir), "a"), after) {
				t.Error("what was made is not kept")
			}
		})
	}
	ann := func() []byte {
		t.Helper()
		p, err := open(t, dir).Client("ann", "ann", "devs", "ops")
		if err != nil {
			t.Fatal(err)
		}
		return p.Current().Cert
	}
	if !slices.Equal(ann(), ann()) {
		t.Error("a certificate with groups is made again without need")
	}
	if left := time.Until(parse(t, get(again, "a")).NotAfter); left < 300*24*time.Hour || left > 366*24*time.Hour {
		t.Errorf("good for %s", left)
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	raw, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(raw))
}

// TestTheCAIsNeverReplaced: everything that was signed would be worthless.
func TestTheCAIsNeverReplaced(t *testing.T) {
	for name, damage := range map[string]func(dir string){
		"a broken certificate": func(dir string) { write(t, filepath.Join(dir, "ca.crt"), "x") },
		"a broken key":         func(dir string) { write(t, filepath.Join(dir, "ca.key"), "x") },
		"another key":          func(dir string) { copyFile(t, filepath.Join(dir, "sa.key"), filepath.Join(dir, "ca.key")) },
		"a key that is gone":   func(dir string) { _ = os.Remove(filepath.Join(dir, "ca.key")) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if _, err := open(t, dir).SigningKey("sa"); err != nil {
				t.Fatal(err)
			}
			before, _ := os.ReadFile(filepath.Join(dir, "ca.crt"))
			damage(dir)
			if _, err := pki.Open(dir, clock.RealClock{}); err == nil || !strings.Contains(err.Error(), "cluster CA") {
				t.Errorf("%v", err)
			}
			if after, _ := os.ReadFile(filepath.Join(dir, "ca.crt")); name != "a broken certificate" && !slices.Equal(before, after) {
				t.Error("the certificate was replaced")
			}
		})
	}
}

func TestKeysAreKeptSecretAndOnce(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	a, err := s.SigningKey("sa")
	if err != nil {
		t.Fatal(err)
	}
	b, err := open(t, dir).SigningKey("sa")
	if err != nil || !a.Equal(b) {
		t.Errorf("%v", err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.key"))
	if len(files) != 2 {
		t.Errorf("%v", files)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", f, err, info.Mode())
		}
	}
	write(t, filepath.Join(dir, "sa.key"), "x")
	if _, err := open(t, dir).SigningKey("sa"); err == nil || !strings.Contains(err.Error(), "sa.key") {
		t.Errorf("a broken key: %v", err)
	}
}
