package etcd

import (
	"context"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// sharing is storage whose watches give the versions of one object the same
// memory where they are alike. A watch cache keeps some hundred events, each
// with the object as it was decoded then; nobody changes those.
type sharing struct {
	storage.Interface
	share func(obj, before runtime.Object)
}

// Watch implements storage.Interface.
func (s sharing) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	w, err := s.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	newest := map[string]runtime.Object{}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		obj := e.Object
		if timed, ok := obj.(storage.WatchEventWithRecordTime); ok {
			obj = timed.Unwrap()
		}
		o, err := meta.Accessor(obj)
		if err != nil || e.Type == watch.Bookmark || e.Type == watch.Error {
			return e, true
		}
		name := o.GetNamespace() + "/" + o.GetName()
		if before := newest[name]; before != nil {
			s.share(obj, before)
		}
		newest[name] = obj
		if e.Type == watch.Deleted {
			delete(newest, name)
		}
		return e, true
	}), nil
}
