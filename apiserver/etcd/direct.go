package etcd

import (
	"context"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
)

// direct asks the member in this process for one object, as the client would,
// without the client's own forms of a request and its answer.
type direct struct {
	*kubernetes.Client // lists and counts
	kv                 etcdserverpb.KVServer
	peers              *sockets
}

// Get reads without a round through raft. A single member acknowledges a write
// only once it is applied, so what it reads locally is linearizable. Before
// others can join, which needs the sockets, that ends.
func (d direct) Get(ctx context.Context, key string, o kubernetes.GetOptions) (kubernetes.GetResponse, error) {
	r, err := d.kv.Range(ctx, &etcdserverpb.RangeRequest{Key: []byte(key), Revision: o.Revision, Limit: 1, Serializable: !d.peers.opened()})
	if err != nil {
		return kubernetes.GetResponse{}, clientv3.ContextError(ctx, err)
	}
	out := kubernetes.GetResponse{Revision: r.Header.Revision}
	if len(r.Kvs) == 1 {
		out.KV = r.Kvs[0]
	}
	return out, nil
}

// OptimisticPut implements kubernetes.Interface.
func (d direct) OptimisticPut(ctx context.Context, key string, value []byte, expected int64, o kubernetes.PutOptions) (kubernetes.PutResponse, error) {
	put := &etcdserverpb.PutRequest{Key: []byte(key), Value: value, Lease: int64(o.LeaseID)}
	r, err := d.unchanged(ctx, put.Key, expected, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestPut{RequestPut: put}}, o.GetOnFailure)
	return kubernetes.PutResponse(r), err
}

// OptimisticDelete implements kubernetes.Interface.
func (d direct) OptimisticDelete(ctx context.Context, key string, expected int64, o kubernetes.DeleteOptions) (kubernetes.DeleteResponse, error) {
	del := &etcdserverpb.DeleteRangeRequest{Key: []byte(key)}
	return d.unchanged(ctx, del.Key, expected, &etcdserverpb.RequestOp{Request: &etcdserverpb.RequestOp_RequestDeleteRange{RequestDeleteRange: del}}, o.GetOnFailure)
}

// unchanged does op if the key's last change was at the expected revision, and
// gives what is there now if it was not and that is wanted.
func (d direct) unchanged(ctx context.Context, key []byte, expected int64, op *etcdserverpb.RequestOp, get bool) (kubernetes.DeleteResponse, error) {
	txn := &etcdserverpb.TxnRequest{
		Compare: []*etcdserverpb.Compare{{
			Result: etcdserverpb.Compare_EQUAL, Target: etcdserverpb.Compare_MOD, Key: key,
			TargetUnion: &etcdserverpb.Compare_ModRevision{ModRevision: expected},
		}},
		Success: []*etcdserverpb.RequestOp{op},
	}
	if get {
		there := &etcdserverpb.RangeRequest{Key: key}
		txn.Failure = []*etcdserverpb.RequestOp{{Request: &etcdserverpb.RequestOp_RequestRange{RequestRange: there}}}
	}
	r, err := d.kv.Txn(ctx, txn)
	if err != nil {
		return kubernetes.DeleteResponse{}, clientv3.ContextError(ctx, err)
	}
	out := kubernetes.DeleteResponse{Succeeded: r.Succeeded, Revision: r.Header.Revision}
	if get && !r.Succeeded {
		if kvs := r.Responses[0].GetResponseRange().Kvs; len(kvs) == 1 {
			out.KV = kvs[0]
		}
	}
	return out, nil
}
