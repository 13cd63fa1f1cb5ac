// Package filewatch does something again whenever files change.
//
// Start at Follow.
package filewatch

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
	"k8s.io/klog/v2"
)

// checkEvery is how often files are read even if nothing told of a change:
// some file systems tell nothing.
const checkEvery = time.Minute

// Follow calls reload at once, and again when a path, a file or what stands
// directly in a directory, may have changed, until ctx ends. A file's directory
// is what is watched: editors and the kubelet replace files and links.
func Follow(ctx context.Context, paths []string, reload func(context.Context) error) {
	log := klog.FromContext(ctx).WithValues("files", paths)
	var events chan fsnotify.Event
	if w, err := fsnotify.NewWatcher(); err != nil {
		log.Error(err, "Files are not watched, they are read again each minute")
	} else {
		defer func() { _ = w.Close() }()
		events = w.Events
		for _, dir := range directories(paths) {
			if err := w.Add(dir); err != nil {
				log.Error(err, "Files are not watched, they are read again each minute", "directory", dir)
			}
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
			written(events)
		}
	}
}

// written waits until nothing has changed for a moment: files are written in
// several steps, and half of one may make sense. Who writes on and on is read
// meanwhile.
func written(events <-chan fsnotify.Event) {
	const calm, most = 20 * time.Millisecond, time.Second
	for begin := time.Now(); time.Since(begin) < most; {
		select {
		case <-events:
		case <-time.After(calm):
			return
		}
	}
}

// directories are those in which a change of the paths shows.
func directories(paths []string) []string {
	var out []string
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || !info.IsDir() {
			path = filepath.Dir(path)
		}
		out = append(out, path)
	}
	return out
}

// drain keeps a watcher from waiting for somebody who reads its errors: each
// minute's look makes up for events that were lost.
func drain(errs <-chan error) {
	for range errs { //nolint:revive // see above
	}
}
