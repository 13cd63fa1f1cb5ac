package etcd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/client/pkg/v3/fileutil"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"
)

// guard looks after the size of a member's database: it tells when etcd
// refuses writes since the quota is reached, makes the file smaller when what
// was deleted left enough room, and lifts the alarm then.
//
// It raises the same alarm when the disk of a lone member is nearly full: etcd
// ends the process when it can't write. Where there are other members they go on
// without this one.
type guard struct {
	store  *Store
	disk   func() (free, size int64, err error) // bytes
	cancel context.CancelFunc
	done   sync.WaitGroup
	told   bool
}

const (
	// lookEvery is how often the alarm is looked at, which costs a lock.
	lookEvery = 5 * time.Second
	// enoughFree is the part of the quota that must be free to lift the alarm:
	// lifted any earlier it would come back with the next writes.
	enoughFree = 10 // a tenth
	// diskReserve is what etcd's log, which is written by segments of some
	// megabytes, and its snapshots are left on a disk; an eighth of a disk that
	// is smaller than eight times that.
	diskReserve = 128 << 20
	// nearlyFull is how many reserves are left when the disk is looked at each
	// lookSoon: a database grows by some 10 MB/s at the most.
	nearlyFull = 4
	lookSoon   = 200 * time.Millisecond
	// slack is what is kept at the end of the database on a full disk, for what
	// deletes objects and for etcd's own notes.
	slack = 4 << 20
	// fastest is how fast others may fill a disk, bytes in a millisecond: above
	// that, the disk is looked at before they can have done so.
	fastest = 1 << 20
)

// reserve of a disk, bytes.
func reserve(size int64) int64 { return min(diskReserve, size/8) }

func newGuard(s *Store) *guard {
	ctx, cancel := context.WithCancel(context.Background())
	g := &guard{store: s, cancel: cancel, disk: func() (free, size int64, err error) { return diskOf(s.server.Cfg.DataDir) }}
	g.done.Go(func() {
		next := time.NewTimer(lookSoon) // what an earlier run has raised is lifted soon
		defer next.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-next.C:
				next.Reset(g.look(ctx))
			}
		}
	})
	return g
}

// diskOf is what is free on the disk of a directory, and its size.
func diskOf(dir string) (free, size int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return int64(fs.Bavail) * int64(fs.Bsize), int64(fs.Blocks) * int64(fs.Bsize), nil //nolint:gosec,unconvert // no disk has 8 EiB; the types are other ones elsewhere
}

func (g *guard) close() {
	if g != nil {
		g.cancel()
		g.done.Wait()
	}
}

// alarm is what keeps etcd from taking writes.
func (g *guard) alarm() error {
	if g == nil {
		return nil
	}
	for _, a := range g.store.server.Alarms() {
		switch a.Alarm {
		case etcdserverpb.AlarmType_NOSPACE:
			if g.store.reads.full.Load() {
				return fmt.Errorf("etcd refuses writes: the disk of its data directory %s is full: make room there", g.store.server.Cfg.DataDir)
			}
			return fmt.Errorf("etcd refuses writes: the database of member %x has reached its quota of %d MiB: delete what is not needed, which is still possible, or start with a larger --quota-backend-bytes",
				a.MemberID, g.store.server.Cfg.QuotaBackendBytes>>20)
		case etcdserverpb.AlarmType_CORRUPT:
			return fmt.Errorf("the data of etcd member %x differs from the others': remove its data directory and join it again", a.MemberID)
		}
	}
	return nil
}

// look is one turn. It says when the next one is due.
func (g *guard) look(ctx context.Context) time.Duration {
	next := g.lookAtDisk(ctx)
	err := g.alarm()
	if err == nil {
		g.told = false
		return next
	}
	if !g.told {
		klog.FromContext(ctx).Error(err, "Writes fail")
		g.told = true
	}
	if err := g.relieve(ctx); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Space of deleted objects is not given back")
	}
	return next
}

// lookAtDisk raises the alarm when the disk is full, and lifts it when there are
// two reserves again.
func (g *guard) lookAtDisk(ctx context.Context) time.Duration {
	free, size, err := g.disk()
	if err != nil || len(g.store.server.Cluster().Members()) > 1 {
		return lookEvery // a directory that is gone is told of by etcd
	}
	ctx, cancel := context.WithTimeout(ctx, lookEvery)
	defer cancel()
	alarm := etcdserverpb.AlarmRequest{MemberID: uint64(g.store.server.MemberID()), Alarm: etcdserverpb.AlarmType_NOSPACE}
	switch {
	case free < reserve(size) && !g.store.reads.full.Load():
		alarm.Action = etcdserverpb.AlarmRequest_ACTIVATE
		if _, err = g.store.server.Alarm(ctx, &alarm); err == nil {
			g.store.reads.full.Store(true)
			err = hold(g.store.server.Cfg.BackendPath())
		}
	case free >= 2*reserve(size) && g.store.reads.full.Load():
		alarm.Action = etcdserverpb.AlarmRequest_DEACTIVATE
		if _, err = g.store.server.Alarm(ctx, &alarm); err == nil {
			g.store.reads.full.Store(false)
			klog.FromContext(ctx).Info("Writes are taken again")
		}
	}
	if err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Preparing for a full disk failed")
	}
	if free < nearlyFull*reserve(size) {
		return lookSoon
	}
	return min(max(time.Duration((free-reserve(size))/fastest)*time.Millisecond, lookSoon), lookEvery)
}

// hold gives a database its blocks on the disk, and some more: it is a file with
// holes, which others' files would leave no room for.
func hold(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("keep room for the database: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		err = fileutil.Preallocate(f, info.Size()+slack, false)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("keep room for the database: %w", err)
	}
	return nil
}

// relieve gives back the space of what was deleted and lifts this member's own
// alarm if that is enough.
func (g *guard) relieve(ctx context.Context) error {
	if g.store.reads.full.Load() {
		return nil // a smaller file is written beside the old one
	}
	server, id := g.store.server, uint64(g.store.server.MemberID())
	for _, a := range server.Alarms() {
		if a.MemberID != id || a.Alarm != etcdserverpb.AlarmType_NOSPACE {
			continue
		}
		r, err := g.store.Client.KV.Get(ctx, "health", clientv3.WithCountOnly())
		if err != nil {
			return err
		}
		// Old versions of objects go too: who reads or watches them starts over.
		_, err = g.store.Client.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical())
		if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
			return err
		}
		quota := server.Cfg.QuotaBackendBytes
		if server.Backend().SizeInUse() > quota-quota/enoughFree {
			return nil
		}
		if err := server.Defragment(); err != nil {
			return err
		}
		if _, err := g.store.Client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: id, Alarm: a.Alarm}); err != nil {
			return err
		}
		klog.FromContext(ctx).Info("Writes are taken again")
	}
	return nil
}

// Size is what the database takes on disk, and how much of it is in use, bytes.
func (s *Store) Size() (file, used int64) {
	if s.server == nil {
		return 0, 0
	}
	return s.server.Backend().Size(), s.server.Backend().SizeInUse()
}

// Defragment makes the database file as small as what is in it. Nobody reads
// or writes meanwhile, on a disk of 100 MB/s for 10 s for each GB.
func (s *Store) Defragment() error {
	if s.server == nil {
		return errors.New("etcd runs elsewhere (--etcd-servers): defragment it there")
	}
	if err := s.server.Defragment(); err != nil {
		return fmt.Errorf("defragment etcd: %w", err)
	}
	return nil
}

// worthwhile says whether a database is worth the time to defragment it at
// start: more than half of it is free, and that is more than 100 MiB.
func worthwhile(file, used int64) bool { return file-used > file/2 && file-used > 100<<20 }

// tidy defragments a member at its start.
func tidy(s *etcdserver.EtcdServer) error {
	if !worthwhile(s.Backend().Size(), s.Backend().SizeInUse()) {
		return nil
	}
	return s.Defragment()
}
