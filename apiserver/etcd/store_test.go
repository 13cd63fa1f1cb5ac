package etcd

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

func openIn(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Start(t.Context(), Config{Dir: dir, NoSync: true, Tick: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

func TestClaimsHaveOneOwner(t *testing.T) {
	ctx, c := t.Context(), openIn(t, t.TempDir()).Claims("things")
	claim := func(name, owner string, want bool) {
		t.Helper()
		if ok, err := c.Claim(ctx, name, owner); err != nil || ok != want {
			t.Errorf("%s for %s: %v %v", name, owner, ok, err)
		}
	}
	claim("a", "ann", true)
	claim("a", "bob", false)
	claim("a", "ann", true)
	if err := c.Release(ctx, "a", "bob"); err != nil {
		t.Error(err)
	}
	claim("a", "bob", false)
	if err := c.Release(ctx, "a", "ann"); err != nil {
		t.Error(err)
	}
	claim("a", "bob", true)
	claim("b", "bob", true)
	if all, err := c.List(ctx); err != nil || !maps.Equal(all, map[string]string{"a": "bob", "b": "bob"}) {
		t.Errorf("%v %v", all, err)
	}

	var won atomic.Int64
	var group sync.WaitGroup
	for _, owner := range strings.Split("abcdefghij", "") {
		group.Go(func() {
			ok, err := c.Claim(ctx, "race", owner)
			if err != nil {
				t.Error(err)
			}
			if ok {
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have it", won.Load())
	}
}

func TestDataOutlivesTheStore(t *testing.T) {
	dir := t.TempDir()
	s := openIn(t, dir)
	if _, err := s.Client.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	s.Stop()
	select {
	case <-s.Stopped():
	case <-time.After(30 * time.Second):
		t.Fatal("not stopped")
	}
	s = openIn(t, dir)
	r, err := s.Client.KV.Get(t.Context(), "k")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "v" {
		t.Errorf("%v %v", err, r)
	}
	if err := s.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestADirectoryThatCannotBe(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: file}); err == nil || !strings.Contains(err.Error(), "make etcd data directory") {
		t.Errorf("%v", err)
	}
}

func TestOneLineOfEtcdIsLeftOut(t *testing.T) {
	seen, logs := observer.New(zapcore.ErrorLevel)
	l := zap.New(quiet{seen}).With(zap.String("a", "b"))
	term := errors.New("cannot detect storage schema version: missing term information")
	l.Error("failed to update storage version", zap.Error(term))
	l.Error("failed to update storage version", zap.Error(errors.New("disk full")))
	l.Error("something else", zap.Error(term))
	l.Info("too quiet to be heard")
	var got []string
	for _, e := range logs.All() {
		got = append(got, e.Message+": "+e.ContextMap()["error"].(string))
	}
	if strings.Join(got, "; ") != "failed to update storage version: disk full; something else: "+term.Error() {
		t.Errorf("%q", got)
	}
}
