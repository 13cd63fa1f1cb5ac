package etcd

import (
	"context"
	"strconv"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// resuming is storage whose watches go on where the watch cache cut them off.
//
// The cache gives each watcher room for ten events and, over all watchers of a
// resource, 50 ms in a second to wait for those that are full; then it ends
// their watches. That is meant for clients that do not read. But on two
// processors that are busy with a burst, it hits whoever has not had his turn,
// the scheduler and the agents in this process first; each of them then waits
// a second before it asks again. What they missed is still in the cache.
type resuming struct{ storage.Interface }

const (
	// eventRoom is how many events wait for a client that is behind.
	eventRoom = 64
	// idleResumes is how often a watch is resumed without an event in between:
	// more often than a busy machine needs, and an end for a cache that ends
	// each watch at once.
	idleResumes = 16
)

// Watch implements storage.Interface.
func (s resuming) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	w := &resumedWatch{storage: s.Interface, key: key, opts: opts, events: make(chan watch.Event, eventRoom), stopped: make(chan struct{})}
	w.begin()
	from, err := s.Interface.Watch(ctx, key, w.opts)
	if err != nil {
		return nil, err
	}
	go w.run(ctx, from)
	return w, nil
}

// resumedWatch is one client's watch over one or several of the cache's.
type resumedWatch struct {
	storage storage.Interface
	key     string
	opts    storage.ListOptions

	events  chan watch.Event
	stopped chan struct{}
	stop    sync.Once

	// seen is up to which version the client has all events; 0 while it gets
	// the objects that exist, whose versions are in no order.
	seen uint64
	// unasked bookmarks tell of seen alone: all of them, or the one after the
	// objects that exist.
	unasked, unaskedFirst bool
}

// ResultChan implements watch.Interface.
func (w *resumedWatch) ResultChan() <-chan watch.Event { return w.events }

// Stop implements watch.Interface.
func (w *resumedWatch) Stop() { w.stop.Do(func() { close(w.stopped) }) }

// begin finds what the client has. One that has nothing, and does not ask to
// be told when it has all that exists, is not told; but we ask.
func (w *resumedWatch) begin() {
	w.unasked = !w.opts.Predicate.AllowWatchBookmarks
	w.opts.Predicate.AllowWatchBookmarks = true
	switch {
	case w.opts.SendInitialEvents != nil && *w.opts.SendInitialEvents:
	case w.opts.SendInitialEvents == nil && (w.opts.ResourceVersion == "" || w.opts.ResourceVersion == "0"):
		w.opts.ResourceVersion, w.opts.ResourceVersionMatch = "0", metav1.ResourceVersionMatchNotOlderThan
		w.opts.SendInitialEvents, w.unaskedFirst = new(true), true
	default:
		w.seen, _ = strconv.ParseUint(w.opts.ResourceVersion, 10, 64) // the cache refuses what is no number
	}
}

func (w *resumedWatch) run(ctx context.Context, from watch.Interface) {
	defer close(w.events)
	for idle := 0; ; {
		forwarded, cut := w.forward(from)
		from.Stop()
		if !cut || w.seen == 0 || ctx.Err() != nil {
			return
		}
		if idle++; forwarded {
			idle = 0
		}
		if idle > idleResumes {
			return
		}
		opts := w.opts
		opts.ResourceVersion, opts.ResourceVersionMatch, opts.SendInitialEvents = strconv.FormatUint(w.seen, 10), "", nil
		next, err := w.storage.Watch(ctx, w.key, opts)
		if err != nil {
			return // the client's next watch gets the error
		}
		from = next
	}
}

// forward passes events on. It says whether there were any, and whether the
// cache ended the watch, rather than the client or an error did.
func (w *resumedWatch) forward(from watch.Interface) (forwarded, cut bool) {
	for {
		select {
		case <-w.stopped:
			return forwarded, false
		case e, ok := <-from.ResultChan():
			if !ok {
				return forwarded, true
			}
			w.note(e)
			if w.hidden(e) {
				continue
			}
			select {
			case w.events <- e:
				forwarded = true
			case <-w.stopped:
				return forwarded, false
			}
			if e.Type == watch.Error {
				return true, false
			}
		}
	}
}

// note remembers how far the client is, when e has been passed on. A bookmark
// says that all before it was sent; an event says so only after the objects
// that existed.
func (w *resumedWatch) note(e watch.Event) {
	if e.Type == watch.Error || w.seen == 0 && e.Type != watch.Bookmark {
		return
	}
	o, ok := e.Object.(metav1.Object)
	if !ok {
		return
	}
	if v, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64); err == nil && v > w.seen {
		w.seen = v
	}
}

// hidden says whether e is a bookmark that the client did not ask for.
func (w *resumedWatch) hidden(e watch.Event) bool {
	if e.Type != watch.Bookmark {
		return false
	}
	first := w.unaskedFirst
	w.unaskedFirst = false
	return w.unasked || first
}
