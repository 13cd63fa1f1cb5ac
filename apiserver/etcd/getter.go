package etcd

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
)

// prefix is where Kubernetes keeps its objects in etcd.
const prefix = "/registry"

// Codec gives how objects of a resource are encoded.
type Codec func(schema.GroupResource) (runtime.Codec, runtime.GroupVersioner)

// Getter tells the registry how to store each resource. All storages share
// the store's client; the library's own factory would open one for each.
type Getter struct {
	store *Store
	codec Codec
	// Wait makes a new storage wait until its watch cache is filled, so that
	// the first request for a new custom resource need not be retried. Where that
	// takes long, on a machine that is slow, clients are told to retry.
	Wait bool
	wait time.Duration // at most
	// Share, when not nil, makes obj use the memory of what it has in common
	// with before, an earlier version of it: for objects that are large and
	// change little. Both are read only.
	Share func(obj, before runtime.Object)
}

// NewGetter gives a Getter that encodes with codec.
func NewGetter(ctx context.Context, s *Store, codec Codec) *Getter {
	// The checker decides once whether this etcd reports progress, which
	// consistent reads from the watch cache rely on (KEP-2340).
	feature.DefaultFeatureSupportChecker.CheckClient(ctx, progressClient{s.Client.Client}, storage.RequestWatchProgress)
	return &Getter{store: s, codec: codec, wait: 2 * time.Second}
}

// progressClient gives the in-process client the endpoint that the checker
// asks for.
type progressClient struct{ *clientv3.Client }

func (p progressClient) Endpoints() []string {
	if e := p.Client.Endpoints(); len(e) > 0 {
		return e
	}
	return []string{"in-process"}
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (g *Getter) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	c := storagebackend.NewDefaultConfig(g.store.Prefix, nil)
	c.EventsHistoryWindow = 75 * time.Second
	r := c.ForResource(gr)
	r.Codec, r.EncodeVersioner = g.codec(gr)
	return generic.RESTOptions{
		StorageConfig: r, Decorator: g.open, EnableGarbageCollection: true, DeleteCollectionWorkers: 1,
		ResourcePrefix: strings.TrimPrefix(gr.Group+"/"+gr.Resource, "/"),
	}, nil
}

// uncached are resources whose objects are many, live an hour and are hardly ever
// read: a cache would decode and keep each for nobody. kube-apiserver has none of
// them either (https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/,
// --watch-cache-sizes).
var uncached = map[schema.GroupResource]bool{{Resource: "events"}: true}

// open makes the storage of one resource: etcd behind a watch cache.
func (g *Getter) open(c *storagebackend.ConfigForResource, resourcePrefix string, keyFunc func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, attrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	v := storage.APIObjectVersioner{}
	raw, err := etcd3.New(g.store.Client, g.store.compactor, c.Codec, newFunc, newListFunc, c.Prefix, resourcePrefix, c.GroupResource,
		g.store.transformer(c.GroupResource), c.LeaseManagerConfig, etcd3.NewDefaultDecoder(c.Codec, v), v)
	if err != nil {
		return nil, nil, fmt.Errorf("open storage of %s: %w", c.GroupResource, err)
	}
	var back storage.Interface = streamed{raw, c.GroupResource.String(), new(atomic.Uint64)}
	if uncached[c.GroupResource] || g.store.noWatchCache || slices.Contains(g.store.uncached, c.GroupResource) {
		return bare{back}, raw.Close, nil
	}
	if g.Share != nil {
		back = sharing{back, g.Share}
	}
	events := &feed{Interface: back}
	cached, err := cacher.NewCacherFromConfig(cacher.Config{
		Storage: events, Versioner: v, GroupResource: c.GroupResource, EventsHistoryWindow: c.EventsHistoryWindow,
		ResourcePrefix: resourcePrefix, KeyFunc: keyFunc, NewFunc: newFunc, NewListFunc: newListFunc, GetAttrsFunc: attrs,
		IndexerFuncs: triggers, Indexers: indexers, Codec: c.Codec, Clock: together{},
	})
	if err != nil {
		raw.Close()
		return nil, nil, fmt.Errorf("cache storage of %s: %w", c.GroupResource, err)
	}
	if g.Wait {
		ctx, cancel := context.WithTimeout(context.Background(), g.wait)
		defer cancel()
		_ = cached.Wait(ctx) // it is filled later
	}
	front := cacher.NewCacheDelegator(cached, back)
	return resuming{plain{front}}, sync.OnceFunc(func() { front.Stop(); events.end(); cached.Stop(); raw.Close() }), nil
}
