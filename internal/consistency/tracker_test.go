package consistency_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	framework "k8s.io/client-go/tools/cache/testing"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/internal/consistency"
)

var owner = types.NamespacedName{Namespace: "default", Name: "web"}

func pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)}}
	for _, each := range change {
		each(p)
	}
	return p
}

// start returns a source of pods, with pod "known", and what a synced informer
// on it makes of them.
func start(t *testing.T) (*framework.FakeControllerSource, toolscache.Store, *consistency.Tracker) {
	t.Helper()
	source := framework.NewFakeControllerSource()
	source.Add(pod("known"))
	informer := toolscache.NewSharedIndexInformer(source, &corev1.Pod{}, 0, toolscache.Indexers{})
	tracker, err := consistency.New(informer)
	if err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		informer.Run(stop)
	}()
	t.Cleanup(func() { close(stop); <-done })
	if !toolscache.WaitForCacheSync(t.Context().Done(), informer.HasSynced) {
		t.Fatal("the informer did not sync")
	}
	return source, informer.GetStore(), tracker
}

// later returns name's pod with a version that the source has not come to yet.
func later(store toolscache.Store, ahead int, name string) *corev1.Pod {
	known, _, _ := store.GetByKey("default/known")
	version, _ := strconv.Atoi(known.(*corev1.Pod).ResourceVersion)
	return pod(name, func(p *corev1.Pod) { p.ResourceVersion = strconv.Itoa(version + ahead) })
}

func has(store toolscache.Store, name string) bool {
	_, exists, _ := store.GetByKey("default/" + name)
	return exists
}

func TestWaitUntilTheCacheHoldsAWrite(t *testing.T) {
	source, store, tracker := start(t)
	tracker.Wrote(owner, later(store, 2, "second"))
	tracker.Wrote(owner, later(store, 1, "first"))
	go func() {
		source.Add(pod("first"))
		source.Add(pod("second"))
	}()
	if err := tracker.Wait(t.Context(), owner); err != nil {
		t.Fatal(err)
	}
	if !has(store, "first") || !has(store, "second") {
		t.Error("the cache does not hold the writes")
	}
}

func TestWaitUntilADeletionIsSeen(t *testing.T) {
	tests := []struct {
		name string
		act  func(*framework.FakeControllerSource)
		seen func(toolscache.Store) bool
	}{
		{
			"by the object being gone",
			func(s *framework.FakeControllerSource) { s.Delete(pod("known")) },
			func(s toolscache.Store) bool { return !has(s, "known") },
		},
		{
			"by the object terminating",
			func(s *framework.FakeControllerSource) {
				s.Modify(pod("known", func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.Now()) }))
			},
			func(s toolscache.Store) bool {
				known, _, _ := s.GetByKey("default/known")
				return known.(*corev1.Pod).DeletionTimestamp != nil
			},
		},
		{
			"by another object of that name",
			func(s *framework.FakeControllerSource) {
				s.Modify(pod("known", func(p *corev1.Pod) { p.UID = "other" }))
			},
			func(s toolscache.Store) bool {
				known, _, _ := s.GetByKey("default/known")
				return known.(*corev1.Pod).UID == "other"
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			source, store, tracker := start(t)
			tracker.Deleted(owner, pod("known"))
			go test.act(source)
			if err := tracker.Wait(t.Context(), owner); err != nil {
				t.Fatal(err)
			}
			if !test.seen(store) {
				t.Error("the cache has not seen the deletion")
			}
		})
	}
}

func TestWaitIsOverAtOnce(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name  string
		write func(*consistency.Tracker, toolscache.Store)
		fault error
	}{
		{"when nothing was written", func(*consistency.Tracker, toolscache.Store) {}, nil},
		{"when somebody else wrote", func(tr *consistency.Tracker, s toolscache.Store) {
			tr.Wrote(types.NamespacedName{Name: "other"}, later(s, 9, "x"))
		}, nil},
		{"when the cache is that far", func(tr *consistency.Tracker, s toolscache.Store) { tr.Wrote(owner, later(s, 0, "known")) }, nil},
		{"when what was deleted is not cached", func(tr *consistency.Tracker, _ toolscache.Store) { tr.Deleted(owner, pod("gone")) }, nil},
		{"when the owner is forgotten", func(tr *consistency.Tracker, s toolscache.Store) {
			tr.Wrote(owner, later(s, 9, "x"))
			tr.Forget(owner)
		}, nil},
		{"when the context ends", func(tr *consistency.Tracker, s toolscache.Store) { tr.Wrote(owner, later(s, 9, "x")) }, context.Canceled},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, store, tracker := start(t)
			test.write(tracker, store)
			if err := tracker.Wait(ended, owner); !errors.Is(err, test.fault) {
				t.Errorf("got %v, want %v", err, test.fault)
			}
		})
	}
}

func TestOwnWritesAreKnown(t *testing.T) {
	source := toolscache.NewSharedIndexInformer(framework.NewFakeControllerSource(), &corev1.Pod{}, 0, toolscache.Indexers{})
	tracker, err := consistency.New(source)
	if err != nil {
		t.Fatal(err)
	}
	at := func(version string) *corev1.Pod {
		return pod("web", func(p *corev1.Pod) { p.ResourceVersion = version })
	}
	if tracker.Own(owner, at("")) {
		t.Error("nothing was written, and yet an object without a version is its own")
	}
	tracker.Wrote(owner, at("3"))
	tracker.Wrote(owner, at("7"))
	for version, want := range map[string]bool{"3": false, "5": false, "7": true, "8": false} {
		if got := tracker.Own(owner, at(version)); got != want {
			t.Errorf("version %s is its own: %t", version, got)
		}
	}
	if tracker.Own(types.NamespacedName{Name: "other"}, at("7")) {
		t.Error("another's write is its own")
	}
	tracker.Forget(owner)
	if tracker.Own(owner, at("7")) {
		t.Error("a write that is forgotten is its own")
	}
}
