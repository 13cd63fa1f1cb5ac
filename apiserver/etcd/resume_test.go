package etcd

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/client-go/kubernetes/scheme"
)

// counted is storage that knows how many watches were begun.
type counted struct {
	storage.Interface
	watches *atomic.Int64
}

func (c counted) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	c.watches.Add(1)
	return c.Interface.Watch(ctx, key, opts)
}

// configMaps opens the storage of ConfigMaps, and counts the cache's watches.
func configMaps(t *testing.T) (storage.Interface, *atomic.Int64) {
	t.Helper()
	c := counted{openConfigMaps(t, getter(t, openIn(t, t.TempDir()))).(resuming).Interface, &atomic.Int64{}}
	return resuming{c}, c.watches
}

func getter(t *testing.T, s *Store) *Getter {
	t.Helper()
	info, _ := runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	codec := scheme.Codecs.CodecForVersions(info.Serializer, scheme.Codecs.UniversalDeserializer(), corev1.SchemeGroupVersion, corev1.SchemeGroupVersion)
	g := NewGetter(t.Context(), s, func(schema.GroupResource) (runtime.Codec, runtime.GroupVersioner) {
		return codec, corev1.SchemeGroupVersion
	})
	g.Wait = true
	return g
}

func openConfigMaps(t *testing.T, g *Getter) storage.Interface {
	t.Helper()
	options, err := g.GetRESTOptions(schema.GroupResource{Resource: "configmaps"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, destroy, err := g.open(options.StorageConfig, "/configmaps",
		func(obj runtime.Object) (string, error) { return "/configmaps/" + obj.(*corev1.ConfigMap).Name, nil },
		func() runtime.Object { return &corev1.ConfigMap{} }, func() runtime.Object { return &corev1.ConfigMapList{} },
		func(obj runtime.Object) (labels.Set, fields.Set, error) {
			return obj.(*corev1.ConfigMap).Labels, fields.Set{}, nil
		}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(destroy)
	return s
}

// TestSlowWatch has clients that do not read while much more happens than the
// cache keeps for them.
func TestSlowWatch(t *testing.T) {
	const before, after = 20, 3000 // a second of writes: the cache waits a tenth of one
	for name, c := range map[string]struct {
		opts      func(version string) storage.ListOptions
		from      int // the first object that the client is told of
		bookmarks bool
	}{
		"a watch from a version": {
			opts: func(version string) storage.ListOptions { return storage.ListOptions{ResourceVersion: version} },
			from: before,
		},
		"a watch of all there is": {
			opts: func(string) storage.ListOptions { return storage.ListOptions{} },
		},
		"a watch of all there is, from version 0": {
			opts: func(string) storage.ListOptions { return storage.ListOptions{ResourceVersion: "0"} },
		},
		"a watch that asks to be told when it has all there is": {
			opts: func(string) storage.ListOptions {
				return storage.ListOptions{
					SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
					Predicate: storage.SelectionPredicate{AllowWatchBookmarks: true},
				}
			},
			bookmarks: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, watches := configMaps(t)
			version := ""
			create := func(i int) {
				t.Helper()
				name, out := fmt.Sprintf("m-%04d", i), &corev1.ConfigMap{}
				if err := s.Create(t.Context(), "/configmaps/"+name, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, out, 0); err != nil {
					t.Fatal(err)
				}
				version = out.ResourceVersion
			}
			for i := range before {
				create(i)
			}
			opts := c.opts(version)
			opts.Recursive = true
			opts.Predicate.Label, opts.Predicate.Field = labels.Everything(), fields.Everything()
			opts.Predicate.GetAttrs = func(runtime.Object) (labels.Set, fields.Set, error) { return nil, nil, nil }
			w, err := s.Watch(t.Context(), "/configmaps/", opts)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			told := c.from
			bookmarks := 0
			next := func() {
				t.Helper()
				select {
				case e, ok := <-w.ResultChan():
					switch {
					case !ok:
						t.Fatalf("the watch ended after %d objects", told)
					case e.Type == watch.Bookmark:
						bookmarks++
					case e.Type != watch.Added:
						t.Fatalf("event %s: %v", e.Type, e.Object)
					default:
						if got, want := e.Object.(metav1.Object).GetName(), fmt.Sprintf("m-%04d", told); got != want {
							t.Fatalf("told of %s, want %s", got, want)
						}
						told++
					}
				case <-time.After(30 * time.Second):
					t.Fatalf("nothing after %d objects", told)
				}
			}
			for told < before || c.bookmarks && bookmarks == 0 {
				next()
			}
			for i := range after {
				create(before + i)
			}
			for told < before+after {
				next()
			}
			if (bookmarks > 0) != c.bookmarks {
				t.Errorf("got %d bookmarks", bookmarks)
			}
			if n := watches.Load(); n < 2 {
				t.Errorf("the cache never cut the watch off: this test shows nothing")
			}
		})
	}
}

func TestWatchEnds(t *testing.T) {
	s, watches := configMaps(t)
	everything := storage.SelectionPredicate{Label: labels.Everything(), Field: fields.Everything()}
	t.Run("when the client stops it", func(t *testing.T) {
		w, err := s.Watch(t.Context(), "/configmaps/", storage.ListOptions{Recursive: true, Predicate: everything})
		if err != nil {
			t.Fatal(err)
		}
		w.Stop()
		w.Stop()
		ended(t, w)
	})
	t.Run("when the client's request ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w, err := s.Watch(ctx, "/configmaps/", storage.ListOptions{Recursive: true, ResourceVersion: "1", Predicate: everything})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		ended(t, w)
	})
	t.Run("when the cache ends each watch at once", func(t *testing.T) {
		before := watches.Load()
		w, err := resuming{counted{endless{}, watches}}.Watch(t.Context(), "/configmaps/", storage.ListOptions{ResourceVersion: "1"})
		if err != nil {
			t.Fatal(err)
		}
		ended(t, w)
		if n := watches.Load() - before; n != idleResumes+1 {
			t.Errorf("%d watches", n)
		}
	})
}

// endless is storage whose watches are at their end when they begin.
type endless struct{ storage.Interface }

func (endless) Watch(context.Context, string, storage.ListOptions) (watch.Interface, error) {
	w := watch.NewFake()
	w.Stop()
	return w, nil
}

func ended(t *testing.T, w watch.Interface) {
	t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		select {
		case _, ok := <-w.ResultChan():
			if !ok {
				return
			}
		case <-deadline:
			t.Fatal("the watch goes on")
		}
	}
}

// TestAStorageIsThereBeforeItsCacheIsFilled has an etcd that does not answer in
// time, as on a machine that is slow.
func TestAStorageIsThereBeforeItsCacheIsFilled(t *testing.T) {
	slow, err := Start(t.Context(), Config{Servers: []string{"http://" + freeAddress(t)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(slow.Stop)
	g := getter(t, slow)
	g.wait = 10 * time.Millisecond
	s := openConfigMaps(t, g)
	if err := s.ReadinessCheck(); err == nil {
		t.Error("the storage says that it is ready")
	}
}
