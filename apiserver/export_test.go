package apiserver

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/skiffcluster/skiff/apiserver/etcd"
)

// Compact forgets all versions but the last, as happens by itself with time.
func (s *Server) Compact(ctx context.Context) error {
	r, err := s.store.Client.KV.Get(ctx, "none")
	if err != nil {
		return err
	}
	_, err = s.store.Client.Compact(ctx, r.Header.Revision, clientv3.WithCompactPhysical())
	return err
}

// Revision is that of the last write.
func (s *Server) Revision(ctx context.Context) (int64, error) {
	r, err := s.store.Client.KV.Get(ctx, "none")
	if err != nil {
		return 0, err
	}
	return r.Header.Revision, nil
}

// Written are the keys that were written after a revision.
func (s *Server) Written(ctx context.Context, after int64) []string {
	r, err := s.store.Client.KV.Get(ctx, "", clientv3.WithPrefix(), clientv3.WithMinModRev(after+1), clientv3.WithKeysOnly())
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, kv := range r.Kvs {
		out = append(out, string(kv.Key))
	}
	return out
}

// Claimed are the addresses and ports that services have.
func (s *Server) Claimed(ctx context.Context, kind string) (map[string]string, error) {
	return s.store.Claims(kind).List(ctx)
}

// StopEtcd stops the data under the server.
func (s *Server) StopEtcd() { s.store.Stop() }

// Store is the server's data.
func (s *Server) Store() *etcd.Store { return s.store }

// Equivalent are all versions of a resource or subresource that admission takes
// for one.
func (s *Server) Equivalent(of schema.GroupVersionResource, subresource string) []schema.GroupVersionResource {
	return s.generic.EquivalentResourceRegistry.EquivalentResourcesFor(of, subresource)
}
