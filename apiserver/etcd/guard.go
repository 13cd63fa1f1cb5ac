package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"k8s.io/klog/v2"
)

// guard looks after the size of a member's database: it tells when etcd
// refuses writes since the quota is reached, makes the file smaller when what
// was deleted left enough room, and lifts the alarm then.
type guard struct {
	store  *Store
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
)

func newGuard(s *Store) *guard {
	ctx, cancel := context.WithCancel(context.Background())
	g := &guard{store: s, cancel: cancel}
	g.done.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				g.look(ctx)
			}
		}
	})
	return g
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
			return fmt.Errorf("etcd refuses writes: the database of member %x has reached its quota of %d MiB: delete what is not needed, which is still possible, or start with a larger --quota-backend-bytes",
				a.MemberID, g.store.server.Cfg.QuotaBackendBytes>>20)
		case etcdserverpb.AlarmType_CORRUPT:
			return fmt.Errorf("the data of etcd member %x differs from the others': remove its data directory and join it again", a.MemberID)
		}
	}
	return nil
}

// look is one turn.
func (g *guard) look(ctx context.Context) {
	err := g.alarm()
	if err == nil {
		g.told = false
		return
	}
	if !g.told {
		klog.FromContext(ctx).Error(err, "Writes fail")
		g.told = true
	}
	if err := g.relieve(ctx); err != nil && ctx.Err() == nil {
		klog.FromContext(ctx).Error(err, "Space of deleted objects is not given back")
	}
}

// relieve gives back the space of what was deleted and lifts this member's own
// alarm if that is enough.
func (g *guard) relieve(ctx context.Context) error {
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
