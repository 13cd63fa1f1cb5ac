package etcd

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"

	"k8s.io/apiserver/pkg/storage"
)

// revisions is storage whose newest version is known, and which counts what is
// asked of it.
type revisions struct {
	storage.Interface
	newest    uint64
	err       error
	requested []uint64
}

func (r *revisions) GetCurrentResourceVersion(context.Context) (uint64, error) {
	return r.newest, r.err
}

func (r *revisions) RequestWatchProgress(context.Context) error {
	r.requested = append(r.requested, r.newest)
	return nil
}

func TestASignOfProgressIsRequestedOnceForEachVersion(t *testing.T) {
	r := &revisions{}
	s := streamed{r, "pods", new(atomic.Uint64)}
	for _, newest := range []uint64{3, 3, 7, 7, 7, 9} {
		r.newest = newest
		if got, err := s.GetCurrentResourceVersion(t.Context()); got != newest || err != nil {
			t.Errorf("got version %d, %v; want %d", got, err, newest)
		}
	}
	if want := []uint64{3, 7, 9}; !slices.Equal(r.requested, want) {
		t.Errorf("requested at %v, want %v", r.requested, want)
	}
	r.newest, r.err = 11, context.Canceled
	if _, err := s.GetCurrentResourceVersion(t.Context()); err == nil || len(r.requested) != 3 {
		t.Errorf("got %v and requests at %v; want the storage's error and none more", err, r.requested)
	}
}
