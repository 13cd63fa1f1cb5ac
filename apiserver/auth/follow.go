package auth

import (
	"context"
	"path/filepath"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
)

// checkEvery is how often a file is read even if nothing told of a change:
// some file systems tell nothing.
const checkEvery = time.Minute

// follow calls reload when file may have changed, until ctx ends. Its directory
// is what is watched: editors and the kubelet replace files and links.
func follow(ctx context.Context, file string, reload func(context.Context) error) {
	log := klog.FromContext(ctx).WithValues("file", file)
	var events chan fsnotify.Event
	if w, err := fsnotify.NewWatcher(); err != nil {
		log.Error(err, "File is not watched, it is read again each minute")
	} else {
		defer func() { _ = w.Close() }()
		if err := w.Add(filepath.Dir(file)); err != nil {
			log.Error(err, "File is not watched, it is read again each minute")
		} else {
			events = w.Events
		}
		go drain(w.Errors)
	}
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for said := ""; ; {
		// First of all: it may have changed since it was read.
		switch err := reload(ctx); {
		case err == nil:
			said = ""
		case err.Error() != said: // once is enough
			said = err.Error()
			log.Error(err, "Changed file is not used, what it said before is still in force")
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-events:
		}
	}
}

// drain keeps a watcher from waiting for somebody who reads its errors: each
// minute's look makes up for events that were lost.
func drain(errs <-chan error) {
	for range errs { //nolint:revive // see above
	}
}

// together runs all until each ends.
func together(ctx context.Context, all []func(context.Context)) {
	var group sync.WaitGroup
	for _, f := range all {
		group.Go(func() { f(ctx) })
	}
	group.Wait()
}
