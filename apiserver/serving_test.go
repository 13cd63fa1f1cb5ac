package apiserver_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cliflag "k8s.io/component-base/cli/flag"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/cluster/pki"
)

// handshake is what becomes of a new connection.
func handshake(t *testing.T, c *clustertest.Cluster, cfg *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	a, err := c.Access()
	if err != nil {
		t.Fatal(err)
	}
	cfg.InsecureSkipVerify = true
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: cfg}
	conn, err := d.DialContext(t.Context(), "tcp", strings.TrimPrefix(a.Server, "https://"))
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState(), nil
}

// shown is the certificate that a new connection sees that asks for name.
func shown(t *testing.T, c *clustertest.Cluster, name string) *x509.Certificate {
	t.Helper()
	s, err := handshake(t, c, &tls.Config{ServerName: name})
	if err != nil {
		t.Fatal(err)
	}
	return s.PeerCertificates[0]
}

// pair is a certificate with its key in two files.
type pair struct{ cert, key string }

func newPair(t *testing.T) pair {
	t.Helper()
	dir := t.TempDir()
	return pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
}

// write puts a new certificate for the names there.
func (p pair) write(t *testing.T, ca *pki.Store, commonName string, names ...string) {
	t.Helper()
	leaf, err := ca.Serving(commonName, pkix.Name{CommonName: commonName}, names...)
	if err != nil {
		t.Fatal(err)
	}
	put(t, p.key, leaf.Current().Key)
	put(t, p.cert, leaf.Current().Cert)
}

func TestServingCertificatesFromFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	ca, files := authority(t), newPair(t)
	files.write(t, ca, "first", "localhost", "127.0.0.1")
	c := socket(t, func(cfg *cluster.Config) { cfg.APIServer.TLSCertFile, cfg.APIServer.TLSKeyFile = files.cert, files.key })
	if got := shown(t, c, "").Subject.CommonName; got != "first" {
		t.Errorf("%q", got)
	}
	files.write(t, ca, "second", "localhost", "127.0.0.1")
	eventually(t, func() error {
		if got := shown(t, c, "").Subject.CommonName; got != "second" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
}

func TestACertificateForEachName(t *testing.T) {
	t.Parallel()
	ca, own, listed := authority(t), newPair(t), newPair(t)
	own.write(t, ca, "by its own names", "api.example.com", "*.wild.example.com")
	listed.write(t, ca, "by the flag", "localhost")
	c := socket(t, func(cfg *cluster.Config) {
		cfg.APIServer.TLS.SNI = []cliflag.NamedCertKey{
			{CertFile: own.cert, KeyFile: own.key},
			{CertFile: listed.cert, KeyFile: listed.key, Names: []string{"a.wild.example.com", "*.listed.example.com"}},
		}
	})
	def := shown(t, c, "").Subject.CommonName
	for name, want := range map[string]string{
		"api.example.com": "by its own names", "b.wild.example.com": "by its own names",
		"a.wild.example.com": "by the flag", "x.listed.example.com": "by the flag",
		"x.y.listed.example.com": def,
	} {
		if got := shown(t, c, name).Subject.CommonName; got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
	own.write(t, ca, "renewed", "api.example.com")
	eventually(t, func() error {
		if got := shown(t, c, "api.example.com").Subject.CommonName; got != "renewed" {
			return fmt.Errorf("%q", got)
		}
		return nil
	})
	if got := shown(t, c, "b.wild.example.com").Subject.CommonName; got != def {
		t.Errorf("a name that the new certificate does not have: %q", got)
	}
}

func TestOldVersionsAndOtherCiphersAreRefused(t *testing.T) {
	t.Parallel()
	c := socket(t, func(cfg *cluster.Config) {
		cfg.APIServer.TLS.MinVersion = "VersionTLS12"
		cfg.APIServer.TLS.CipherSuites = []string{"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"}
		cfg.APIServer.TLS.CurvePreferences = []int32{int32(tls.CurveP256)}
	})
	newest := socket(t, func(cfg *cluster.Config) { cfg.APIServer.TLS.MinVersion = "VersionTLS13" })
	twelve := func(suite uint16) *tls.Config {
		return &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}}
	}
	for _, x := range []struct {
		name   string
		server *clustertest.Cluster
		client *tls.Config
		fault  string
	}{
		{"the suite that is served", c, twelve(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256), ""},
		{"another suite", c, twelve(tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384), "handshake failure"},
		{"TLS 1.3, whose suites are not chosen", c, &tls.Config{MinVersion: tls.VersionTLS13}, ""},
		{"TLS 1.1", c, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, "protocol version not supported"},
		{"the key exchange that is served", c, &tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP256}}, ""},
		{"another key exchange", c, &tls.Config{CurvePreferences: []tls.CurveID{tls.X25519}}, "handshake failure"},
		{"TLS 1.2 where 1.3 is the oldest", newest, &tls.Config{MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12}, "protocol version not supported"},
		{"TLS 1.3 where it is the oldest", newest, &tls.Config{}, ""},
	} {
		_, err := handshake(t, x.server, x.client)
		if (err == nil) != (x.fault == "") || err != nil && !strings.Contains(err.Error(), x.fault) {
			t.Errorf("%s: %v, want %q", x.name, err, x.fault)
		}
	}
}

func TestTLSThatCanNotBe(t *testing.T) {
	t.Parallel()
	ca, files := authority(t), newPair(t)
	for _, x := range []struct {
		name string
		tls  apiserver.TLS
		want string
	}{
		{"a version that there is not", apiserver.TLS{MinVersion: "VersionTLS9"}, `unknown tls version "VersionTLS9"`},
		{"a suite that there is not", apiserver.TLS{CipherSuites: []string{"TLS_NONE"}}, "Cipher suite TLS_NONE not supported or doesn't exist"},
		{"files that are not there", apiserver.TLS{SNI: []cliflag.NamedCertKey{{CertFile: files.cert, KeyFile: files.key}}}, "failed to load SNI cert and key: open " + files.cert},
	} {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		good := newPair(t)
		good.write(t, ca, "good", "localhost")
		cfg := onDisk(t.TempDir())
		cfg.Listener, cfg.TLS, cfg.TLSCertFile, cfg.TLSKeyFile = listener, x.tls, good.cert, good.key
		if _, err := apiserver.New(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: %v", x.name, err)
		}
		_ = listener.Close()
	}
}
