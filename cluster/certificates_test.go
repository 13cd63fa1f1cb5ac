package cluster_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"strings"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/cluster"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// shown is the certificate that new connections to an address see.
func shown(t *testing.T, address string) *x509.Certificate {
	t.Helper()
	d := &tls.Dialer{NetDialer: &net.Dialer{Timeout: 10 * time.Second}, Config: &tls.Config{InsecureSkipVerify: true}}
	conn, err := d.DialContext(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// TestCertificatesRenewThemselves: nobody restarts anything.
func TestCertificatesRenewThemselves(t *testing.T) {
	t.Parallel()
	clock := clocktesting.NewFakeClock(time.Now())
	c := clustertest.With(t, cluster.WithCertificateClock(cluster.Config{
		Listen: "127.0.0.1:0", Without: []cluster.Room{cluster.Controllers, cluster.Scheduler, cluster.Nodes},
	}, clock))
	before, err := c.Access()
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(before.Server, "https://")
	first := shown(t, address)
	clock.Step(250 * 24 * time.Hour)
	select {
	case <-c.AccessChanged():
	case <-time.After(time.Minute):
		t.Fatal("the administrator's certificate is not renewed")
	}
	after, err := c.Access()
	if err != nil || bytes.Equal(after.ClientCert, before.ClientCert) || !bytes.Equal(after.CA, before.CA) {
		t.Errorf("%v: the same certificate, or another CA", err)
	}
	deadline := time.Now().Add(time.Minute)
	for shown(t, address).Equal(first) {
		if time.Now().After(deadline) {
			t.Fatal("new connections see the old certificate")
		}
		time.Sleep(5 * time.Millisecond)
	}
	second := shown(t, address)
	if life := second.NotAfter.Sub(first.NotAfter); life != 250*24*time.Hour || strings.Join(second.DNSNames, " ") != strings.Join(first.DNSNames, " ") {
		t.Errorf("%s later, for %v", life, second.DNSNames)
	}
}
