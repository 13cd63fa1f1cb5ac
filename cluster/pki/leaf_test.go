package pki_test

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"os"
	"path/filepath"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"

	"github.com/skiffcluster/skiff/cluster/pki"
)

const day = 24 * time.Hour

// stepping gives a store whose time the test moves.
func stepping(t *testing.T, dir string, now time.Time) (*pki.Store, *clocktesting.FakeClock) {
	t.Helper()
	c := clocktesting.NewFakeClock(now)
	s, err := pki.Open(dir, c)
	if err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestACertificateIsMadeAgainAtTwoThirdsOfItsLife(t *testing.T) {
	for _, dir := range []string{"", t.TempDir()} {
		start := time.Now()
		s, c := stepping(t, dir, start)
		leaf, err := s.Serving("server", pkix.Name{CommonName: "server"}, "a", "10.0.0.1")
		if err != nil {
			t.Fatal(err)
		}
		told := 0
		leaf.Notify(func() { told++ })
		first := leaf.Current()
		c.Step(240 * day)
		if !bytes.Equal(leaf.Current().Cert, first.Cert) || told != 0 {
			t.Error("made again before its time")
		}
		c.Step(5 * day)
		second := leaf.Current()
		if bytes.Equal(second.Cert, first.Cert) || bytes.Equal(second.Key, first.Key) || told != 1 {
			t.Errorf("not made again, told %d times", told)
		}
		was, is := parse(t, first.Cert), parse(t, second.Cert)
		if is.NotAfter.Sub(was.NotAfter) != 245*day || is.Subject.String() != was.Subject.String() || is.DNSNames[0] != "a" || is.IPAddresses[0].String() != "10.0.0.1" || is.SerialNumber.Cmp(was.SerialNumber) == 0 {
			t.Errorf("%s, %s, %v, %v", is.NotAfter, is.Subject, is.DNSNames, is.IPAddresses)
		}
		shown, err := leaf.ServerCertificate(nil)
		if err != nil || !shown.Leaf.Equal(is) {
			t.Errorf("handshakes show another: %v", err)
		}
		if dir != "" {
			again, _ := stepping(t, dir, c.Now())
			kept, err := again.Serving("server", pkix.Name{CommonName: "server"}, "a", "10.0.0.1")
			if err != nil || !bytes.Equal(kept.Current().Cert, second.Cert) {
				t.Errorf("what was made is not kept: %v", err)
			}
		}
	}
}

func TestACertificateThatNobodyAsksForIsMadeAgainToo(t *testing.T) {
	s, c := stepping(t, "", time.Now())
	leaf, err := s.Client("admin", "ann", "devs")
	if err != nil {
		t.Fatal(err)
	}
	made := make(chan struct{}, 1)
	leaf.Notify(func() { made <- struct{}{} })
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	for !c.HasWaiters() {
		time.Sleep(time.Millisecond)
	}
	c.Step(300 * day)
	select {
	case <-made:
	case <-time.After(time.Minute):
		t.Fatal("not made again")
	}
	if left := parse(t, leaf.Current().Cert).NotAfter.Sub(c.Now()); left < 364*day {
		t.Errorf("good for %s", left)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestARenewalThatFailsIsTriedAgain: the old certificate serves meanwhile.
func TestARenewalThatFailsIsTriedAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	s, c := stepping(t, dir, time.Now())
	leaf, err := s.Serving("server", pkix.Name{CommonName: "server"}, "a")
	if err != nil {
		t.Fatal(err)
	}
	first := leaf.Current()
	if err := os.Rename(dir, dir+"-away"); err != nil {
		t.Fatal(err)
	}
	c.Step(300 * day)
	if !bytes.Equal(leaf.Current().Cert, first.Cert) {
		t.Error("a certificate that can't be kept is shown")
	}
	if err := os.Rename(dir+"-away", dir); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(leaf.Current().Cert, first.Cert) {
		t.Error("tried again at once")
	}
	c.Step(2 * time.Minute)
	if bytes.Equal(leaf.Current().Cert, first.Cert) {
		t.Error("not tried again")
	}
}
