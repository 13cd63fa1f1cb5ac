package etcd

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestASnapshotIsRestored(t *testing.T) {
	s := openIn(t, t.TempDir())
	put(t, s, "a", "1")
	snap, err := s.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "a", "2") // after the snapshot: not in it
	var raw bytes.Buffer
	n, err := snap.WriteTo(&raw)
	if err != nil || n != snap.Size {
		t.Fatalf("%d of %d: %v", n, snap.Size, err)
	}
	if err := snap.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(file, raw.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	status, err := CheckSnapshot(file)
	if err != nil || status.Revision != snap.Revision {
		t.Fatalf("%+v %v, want revision %d", status, err, snap.Revision)
	}
	dir := filepath.Join(t.TempDir(), "etcd")
	if err := Restore(file, dir); err != nil {
		t.Fatal(err)
	}
	restored := openIn(t, dir)
	holds(t, restored, "a", "1")
	r, err := restored.Client.KV.Get(t.Context(), "a")
	if err != nil || r.Header.Revision < revisionBump {
		t.Errorf("revision %d, %v: clients would take old objects for new", r.Header.Revision, err)
	}
	if err := Restore(file, dir); err == nil {
		t.Error("data was overwritten")
	}
	bad := filepath.Join(t.TempDir(), "foreign")
	if err := os.WriteFile(bad, []byte("not a database"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := CheckSnapshot(bad); err == nil {
		t.Error("nothing is wrong with what is no database")
	}
}

// A lone member is its own leader at once, not after an election's time.
func TestALoneMemberDoesNotWaitForOthers(t *testing.T) {
	s, err := Start(t.Context(), Config{Dir: t.TempDir(), NoSync: true, Tick: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	if _, err := s.Client.Put(t.Context(), "k", "v"); err != nil {
		t.Error(err)
	}
}

// TestRestartAfterManyWrites has etcd drop the log's first entries while raft
// catches up with it.
func TestRestartAfterManyWrites(t *testing.T) {
	dir := t.TempDir()
	for round := range 8 {
		s, err := Start(t.Context(), Config{Dir: dir, NoSync: true, Tick: 10 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 150 {
			if _, err := s.Client.Put(t.Context(), fmt.Sprint("k-", i), fmt.Sprint(round)); err != nil {
				t.Fatal(err)
			}
		}
		s.Stop()
	}
}
