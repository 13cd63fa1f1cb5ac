package etcd

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/metadata"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// streamed is etcd's storage with a watch stream of its own.
//
// A watch cache that must be as new as etcd asks for a sign of progress on its
// stream, which etcd gives when each watch of the stream has all events. It
// does not count as such that a watch was begun at the newest revision, before
// there is a later one. On a stream shared by all resources, as the client
// would have it, the watch of a new custom resource so keeps every other cache
// waiting until somebody writes.
type streamed struct {
	storage.Interface
	resource  string
	requested *atomic.Uint64 // the version that a sign of progress was last requested for
}

func (s streamed) own(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx, "resource", s.resource)
}

// Watch implements storage.Interface.
func (s streamed) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	return s.Interface.Watch(s.own(ctx), key, opts)
}

// RequestWatchProgress implements storage.Interface.
func (s streamed) RequestWatchProgress(ctx context.Context) error {
	return s.Interface.RequestWatchProgress(s.own(ctx))
}
