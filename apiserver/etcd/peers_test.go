package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// authority is a CA whose files members use.
type authority struct{ ca, cert, key string }

func newAuthority(t *testing.T) authority {
	t.Helper()
	dir := t.TempDir()
	a := authority{filepath.Join(dir, "ca.crt"), filepath.Join(dir, "peer.crt"), filepath.Join(dir, "peer.key")}
	caKey, key := newKey(t), newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "member"}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	write(t, a.ca, "CERTIFICATE", sign(t, ca, ca, caKey, caKey))
	write(t, a.cert, "CERTIFICATE", sign(t, leaf, ca, key, caKey))
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, a.key, "EC PRIVATE KEY", der)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, c, by *x509.Certificate, key, signer *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, by, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func write(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// seat is a member's place: what stays the same when its process or its disk
// does not.
type seat struct {
	authority
	dir, address, clients string
}

func (a authority) seat(t *testing.T) seat {
	t.Helper()
	return seat{a, t.TempDir(), freeAddress(t), freeAddress(t)}
}

func (s seat) url() string { return "https://" + s.address }

func (s seat) start(t *testing.T, join map[string]string) (*Store, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st, err := Start(ctx, Config{
		Dir: s.dir, NoSync: true, Tick: 20 * time.Millisecond, Election: 400 * time.Millisecond,
		Peers: &Peers{
			Name: s.address, Listen: s.address, Advertise: s.address, Clients: s.clients,
			CAFile: s.ca, CertFile: s.cert, KeyFile: s.key, Join: join,
		},
	})
	if err == nil {
		t.Cleanup(st.Stop)
	}
	return st, err
}

func (s seat) mustStart(t *testing.T, join map[string]string) *Store {
	t.Helper()
	st, err := s.start(t, join)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func add(t *testing.T, to *Store, s seat) map[string]string {
	t.Helper()
	var join map[string]string
	eventually(t, func() (err error) {
		join, err = to.Add(t.Context(), s.address, s.url())
		return err
	})
	return join
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func put(t *testing.T, s *Store, key, value string) {
	t.Helper()
	eventually(t, func() error {
		_, err := s.Client.Put(t.Context(), key, value)
		return err
	})
}

func holds(t *testing.T, s *Store, key, want string) {
	t.Helper()
	eventually(t, func() error {
		r, err := s.Client.KV.Get(t.Context(), key)
		if err != nil {
			return err
		}
		if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != want {
			return fmt.Errorf("%s is %v, not %s", key, r.Kvs, want)
		}
		return nil
	})
}

func TestMembersJoinAreLostAndReplaced(t *testing.T) {
	ca := newAuthority(t)
	seats := []seat{ca.seat(t), ca.seat(t), ca.seat(t)}
	first := seats[0].mustStart(t, nil)
	put(t, first, "a", "1")
	if c, err := net.Dial("tcp", seats[0].address); err == nil {
		_ = c.Close()
		t.Error("a member that is alone listens")
	}
	second := seats[1].mustStart(t, add(t, first, seats[1]))
	third := seats[2].mustStart(t, add(t, second, seats[2])) // any member takes it in
	for _, s := range []*Store{first, second, third} {
		holds(t, s, "a", "1")
		all, err := s.Members(t.Context())
		if err != nil || len(all) != 3 {
			t.Fatalf("%v %v", all, err)
		}
		for _, m := range all {
			if m.Learner || m.Name == "" {
				t.Errorf("%+v is no voting member", m)
			}
		}
	}

	// The one that others came to is lost: two go on.
	first.Stop()
	put(t, second, "b", "2")
	holds(t, third, "b", "2")

	// It comes back with its data.
	first = seats[0].mustStart(t, nil)
	holds(t, first, "b", "2")

	// So does another, which keeps its name.
	third.Stop()
	third = seats[2].mustStart(t, nil)
	eventually(t, func() error {
		all, err := first.Members(t.Context())
		if err != nil {
			return err
		}
		for _, m := range all {
			if m.URL == seats[2].url() && m.Name != seats[2].address {
				return fmt.Errorf("%s is called %s", m.URL, m.Name)
			}
		}
		return nil
	})

	// One whose disk was lost joins again at its place.
	third.Stop()
	if err := os.RemoveAll(seats[2].dir); err != nil {
		t.Fatal(err)
	}
	third = seats[2].mustStart(t, add(t, first, seats[2]))
	holds(t, third, "b", "2")
	if all, err := third.Members(t.Context()); err != nil || len(all) != 3 {
		t.Errorf("%v %v", all, err)
	}

	// One that is removed says so and can't come back by itself.
	if err := first.Remove(t.Context(), seats[2].address); err != nil {
		t.Fatal(err)
	}
	select {
	case <-third.Stopped():
	case <-time.After(30 * time.Second):
		t.Fatal("a removed member goes on")
	}
	if err := third.Why(); err == nil || !strings.Contains(err.Error(), "removed from the cluster") {
		t.Errorf("%v", err)
	}
	if err := first.Remove(t.Context(), seats[2].address); err == nil || !strings.Contains(err.Error(), "there is no etcd member") {
		t.Errorf("%v", err)
	}
	put(t, second, "c", "3")
}

// --etcd-servers: a client of an etcd that runs elsewhere.
func TestAnEtcdElsewhere(t *testing.T) {
	ca := newAuthority(t)
	here, other := ca.seat(t), ca.seat(t)
	server := here.mustStart(t, nil)
	other.mustStart(t, add(t, server, other)) // the sockets are open now
	for name, c := range map[string]Config{
		"by TLS":                             {Servers: []string{"https://" + here.clients}, CAFile: ca.ca, CertFile: ca.cert, KeyFile: ca.key},
		"by the one that answers of several": {Servers: []string{"https://" + freeAddress(t), "https://" + here.clients}, CAFile: ca.ca, CertFile: ca.cert, KeyFile: ca.key},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := Start(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Stop()
			put(t, s, "k", name)
			holds(t, server, "k", name)
			if err := s.Check(t.Context()); err != nil {
				t.Error(err)
			}
			if ok, err := s.Claims("elsewhere").Claim(t.Context(), name, "me"); err != nil || !ok {
				t.Errorf("%t %v", ok, err)
			}
		})
	}
	s, err := Start(t.Context(), Config{Servers: []string{"https://" + here.clients}, CAFile: ca.ca})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := s.Client.Put(ctx, "k", "v"); err == nil {
		t.Error("a client without a certificate was let in")
	}
}

func TestOthersCantJoinWithoutAPlace(t *testing.T) {
	s := openIn(t, t.TempDir())
	if _, err := s.Add(t.Context(), "x", "https://127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "takes in no other members") {
		t.Errorf("%v", err)
	}
}

func TestAFullDatabaseSaysSoAndRecovers(t *testing.T) {
	s, err := Start(t.Context(), Config{Dir: t.TempDir(), NoSync: true, Tick: 10 * time.Millisecond, Quota: 16 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.watched.close() // its turns are this test's
	value := strings.Repeat("x", 1<<20)
	var failed error
	for i := 0; failed == nil && i < 100; i++ {
		_, failed = s.Client.Put(t.Context(), fmt.Sprintf("big/%d", i), value)
	}
	if failed == nil {
		t.Fatal("the quota is none")
	}
	eventually(t, func() error {
		if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "--quota-backend-bytes") {
			return fmt.Errorf("not told: %w", err)
		}
		return nil
	})
	if _, err := s.Client.Delete(t.Context(), "big/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		s.watched.look(t.Context())
		return s.Check(t.Context())
	})
	if _, err := s.Client.Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
	if file, used := s.Size(); file > 8<<20 {
		t.Errorf("%d bytes for %d", file, used)
	}
}

func TestAFullDiskSaysSoAndRecovers(t *testing.T) {
	dir := t.TempDir()
	s, err := Start(t.Context(), Config{Dir: dir, NoSync: true, Tick: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	s.watched.close() // its turns are this test's
	free := int64(400 << 20)
	s.watched.disk = func() (int64, int64, error) { return free, 10 << 30, nil }
	if next := s.watched.look(t.Context()); next != lookSoon || s.Check(t.Context()) != nil {
		t.Errorf("nearly full: %s, %v", next, s.Check(t.Context()))
	}
	put(t, s, "k", "1")

	free = 100 << 20
	s.watched.look(t.Context())
	if err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "the disk of its data directory "+dir) {
		t.Errorf("not told: %v", err)
	}
	if _, err := s.Client.Put(t.Context(), "k", "2"); err == nil {
		t.Error("a write is taken")
	}
	if r, err := s.Client.KV.Get(t.Context(), "k"); err != nil || string(r.Kvs[0].Value) != "1" {
		t.Errorf("a read: %v %v", err, r)
	}
	free = 200 << 20 // more than the reserve, but not enough to go on
	s.watched.look(t.Context())
	if s.Check(t.Context()) == nil {
		t.Error("writes are taken too soon")
	}

	free = 1 << 30
	if next := s.watched.look(t.Context()); next <= lookSoon || next >= time.Second {
		t.Errorf("looks again after %s: a gigabyte can be gone in a second", next)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
	put(t, s, "k", "3")
	free = 9 << 30
	if next := s.watched.look(t.Context()); next != lookEvery {
		t.Errorf("where there is much room it looks again after %s", next)
	}
}

func TestWorthwhile(t *testing.T) {
	for _, c := range []struct {
		name       string
		file, used int64
		want       bool
	}{
		{"a small file is left alone", 50 << 20, 0, false},
		{"a large file that is full is left alone", 1 << 30, 900 << 20, false},
		{"a large file that is mostly free is made small", 1 << 30, 100 << 20, true},
	} {
		if got := worthwhile(c.file, c.used); got != c.want {
			t.Errorf("%s: %t", c.name, got)
		}
	}
}
