package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/etcdutl/v3/snapshot"
)

// SnapshotFile is the database in a snapshot.
type SnapshotFile struct {
	Size     int64
	Revision int64
	io.WriterTo
	io.Closer
}

// Snapshot gives the database as it is now. It is to be closed.
func (s *Store) Snapshot(ctx context.Context) (*SnapshotFile, error) {
	if s.server == nil {
		return nil, errors.New("etcd runs elsewhere (--etcd-servers): take snapshots there, with 'etcdctl snapshot save'")
	}
	// A read through raft: nothing that was acknowledged before is missing.
	r, err := s.Client.KV.Get(ctx, "health", clientv3.WithCountOnly())
	if err != nil {
		return nil, fmt.Errorf("snapshot of etcd: %w", err)
	}
	s.server.KV().Commit() // what is buffered goes to the file
	f := s.server.Backend().Snapshot()
	return &SnapshotFile{Size: f.Size(), Revision: r.Header.Revision, WriterTo: f, Closer: f}, nil
}

// Status is what a database file holds.
type Status = snapshot.Status

// CheckSnapshot reads a whole database file, pages and keys. The file must have
// its full length, which whoever packed it knows: it is mapped into memory.
func CheckSnapshot(file string) (Status, error) {
	status, err := snapshot.NewV3(logger()).Status(file)
	if err != nil {
		return status, fmt.Errorf("check database %s: %w", filepath.Base(file), err)
	}
	return status, nil
}

// revisionBump is added to the revision of a restored database, so that clients
// that saw later objects than it has never take old ones for new: far more than
// is written between two snapshots.
const revisionBump = 1_000_000_000

// Restore makes the data directory of a lone member from a database file.
func Restore(file, dir string) error {
	walSegment()
	err := snapshot.NewV3(logger()).Restore(snapshot.RestoreConfig{
		SnapshotPath: file, SkipHashCheck: true, // whoever packed it has a hash of its own
		Name: memberName, OutputDataDir: dir, PeerURLs: []string{peerURL},
		InitialCluster: memberName + "=" + peerURL, InitialClusterToken: clusterToken,
		RevisionBump: revisionBump, MarkCompacted: true,
	})
	if err != nil {
		return fmt.Errorf("restore etcd: %w", err)
	}
	return nil
}
