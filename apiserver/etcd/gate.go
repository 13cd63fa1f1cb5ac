package etcd

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/etcdserver"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.etcd.io/etcd/server/v3/proxy/grpcproxy/adapter"
)

// gate counts the requests that read the member's data in this process. An etcd
// with a gRPC server ends that first, and its requests with it; without one,
// the data would be closed under a watch that is just reading the value before
// an event, which panics.
type gate struct {
	mu     sync.Mutex
	closed bool
	inside sync.WaitGroup
	full   atomic.Bool // the disk: guard says so, and nothing is put there
}

func (g *gate) enter() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return rpctypes.ErrGRPCStopped
	}
	g.inside.Add(1)
	return nil
}

// close lets nobody in any more and waits until all are out, but no longer than
// atMost: without a majority of the members reads wait for as long as their
// callers do.
func (g *gate) close(atMost time.Duration) {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	out := make(chan struct{})
	go func() {
		g.inside.Wait()
		close(out)
	}()
	select {
	case <-out:
	case <-time.After(atMost):
	}
}

// client reaches the member without a socket.
func (g *gate) client(s *etcdserver.EtcdServer, kv gatedKV) *clientv3.Client {
	c := v3client.New(s)
	c.KV = clientv3.NewKVFromKVClient(adapter.KvServerToKvClient(kv), c)
	c.Watcher = clientv3.NewWatchFromWatchClient(adapter.WatchServerToWatchClient(gatedWatch{v3rpc.NewWatchServer(s), g}), c)
	return c
}

type gatedWatch struct {
	etcdserverpb.WatchServer
	gate *gate
}

func (w gatedWatch) Watch(stream etcdserverpb.Watch_WatchServer) error {
	if err := w.gate.enter(); err != nil {
		return err
	}
	defer w.gate.inside.Done()
	return w.WatchServer.Watch(stream)
}

// gatedKV has a gate before what reads; etcd ends writes itself.
type gatedKV struct {
	etcdserverpb.KVServer
	gate *gate
}

func (kv gatedKV) Range(ctx context.Context, r *etcdserverpb.RangeRequest) (*etcdserverpb.RangeResponse, error) {
	if err := kv.gate.enter(); err != nil {
		return nil, err
	}
	defer kv.gate.inside.Done()
	return kv.KVServer.Range(ctx, r)
}

func (kv gatedKV) Txn(ctx context.Context, r *etcdserverpb.TxnRequest) (*etcdserverpb.TxnResponse, error) {
	if err := kv.gate.enter(); err != nil {
		return nil, err
	}
	defer kv.gate.inside.Done()
	// etcd refuses what can't be stored after it has written it to its log.
	if kv.gate.full.Load() && slices.ContainsFunc(r.Success, func(o *etcdserverpb.RequestOp) bool { return o.GetRequestPut() != nil }) {
		return nil, rpctypes.ErrGRPCNoSpace
	}
	return kv.KVServer.Txn(ctx, r)
}
