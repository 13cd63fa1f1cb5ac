package etcd

import (
	"context"
	"sync"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// feed is the storage below a watch cache, whose events can be ended before the
// cache is.
//
//	etcd ──▶ reader ──▶ room for 100 ──▶ dispatcher ──▶ watchers
//
// When a cache is stopped, its dispatcher ends at once. A reader that waits for
// room at this moment, in a burst of writes on a busy machine, then waits for
// ever, and the cache with it.
type feed struct {
	storage.Interface
	asked atomic.Int64 // how often the reader came for an event

	mu    sync.Mutex
	watch *fed // the newest
	over  bool
}

// roomy is how many events the reader can be told of, for each of which it
// hands over two, without ever having to wait for room.
const roomy = 45

// Watch implements storage.Interface.
func (f *feed) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	from, err := f.Interface.Watch(ctx, key, opts)
	if err != nil {
		return nil, err
	}
	w := &fed{Interface: from, feed: f, idle: make(chan struct{})}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.watch = w
	return w, nil
}

// end lets the reader have no more events, and waits until it is done with the
// last one.
func (f *feed) end() {
	f.mu.Lock()
	f.over = true
	w := f.watch
	f.mu.Unlock()
	if w == nil || f.asked.Load() <= roomy {
		return
	}
	w.Interface.Stop() // a reader that waits for an event comes back
	<-w.idle
}

func (f *feed) ended() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.over
}

// fed is one watch of the cache's.
type fed struct {
	watch.Interface
	feed *feed
	once sync.Once
	idle chan struct{} // closed when the reader has no event in hand, and gets none
}

// ResultChan implements watch.Interface. The reader asks for it before it waits
// for an event, each time.
func (w *fed) ResultChan() <-chan watch.Event {
	w.feed.asked.Add(1)
	if w.feed.ended() {
		w.once.Do(func() { close(w.idle) })
		return nil
	}
	return w.Interface.ResultChan()
}

// Stop implements watch.Interface. The reader calls it when it leaves the watch.
func (w *fed) Stop() {
	w.once.Do(func() { close(w.idle) })
	w.Interface.Stop()
}
