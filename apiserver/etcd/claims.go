package etcd

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Claims are names that have at most one owner: the key that is created first
// wins.
type Claims struct {
	store  *Store
	prefix string
}

// Claims gives the claims below ranges/kind.
func (s *Store) Claims(kind string) *Claims {
	return &Claims{s, s.Prefix + "/ranges/" + kind + "/"}
}

// Claim makes owner the owner of name and says whether it is: a name that
// owner has already is claimed again without change.
func (c *Claims) Claim(ctx context.Context, name, owner string) (bool, error) {
	key := c.prefix + name
	r, err := c.store.Client.KV.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, owner)).
		Else(clientv3.OpGet(key)).Commit()
	if err != nil {
		return false, fmt.Errorf("claim %s: %w", name, err)
	}
	if r.Succeeded {
		return true, nil
	}
	kvs := r.Responses[0].GetResponseRange().Kvs
	return len(kvs) == 1 && string(kvs[0].Value) == owner, nil
}

// Release gives up a name that owner has.
func (c *Claims) Release(ctx context.Context, name, owner string) error {
	key := c.prefix + name
	_, err := c.store.Client.KV.Txn(ctx).
		If(clientv3.Compare(clientv3.Value(key), "=", owner)).
		Then(clientv3.OpDelete(key)).Commit()
	if err != nil {
		return fmt.Errorf("release %s: %w", name, err)
	}
	return nil
}

// List gives the owner of each name.
func (c *Claims) List(ctx context.Context) (map[string]string, error) {
	r, err := c.store.Client.KV.Get(ctx, c.prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("list claims: %w", err)
	}
	out := make(map[string]string, len(r.Kvs))
	for _, kv := range r.Kvs {
		out[strings.TrimPrefix(string(kv.Key), c.prefix)] = string(kv.Value)
	}
	return out, nil
}
