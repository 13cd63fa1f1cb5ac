package apiserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/skiffcluster/skiff/apiserver"
	"github.com/skiffcluster/skiff/apiserver/etcd"
	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// many makes numbered config maps, of which every third has a label.
func many(t testing.TB, k *kubernetes.Clientset, n int) []*corev1.ConfigMap {
	t.Helper()
	var out []*corev1.ConfigMap
	for i := range n {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("m%02d", i), Labels: map[string]string{"i": strconv.Itoa(i)}}}
		if i%3 == 0 {
			m.Labels["third"] = ""
		}
		out = append(out, makeMap(t, k, m))
	}
	return out
}

func names(l *corev1.ConfigMapList) string {
	var out []string
	for i := range l.Items {
		out = append(out, l.Items[i].Name)
	}
	return strings.Join(out, " ")
}

func TestSelectors(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	many(t, k, 7)
	for _, c := range []struct{ labels, fields, want string }{
		{"third", "", "m00 m03 m06"},
		{"!third", "metadata.namespace=default", "m01 m02 m04 m05"},
		{"i in (1,2)", "", "m01 m02"},
		{"i notin (0,1,2,3)", "", "m04 m05 m06"},
		{"i>4", "", "m05 m06"},
		{"", "metadata.name=m04", "m04"},
		{"third,i!=3", "metadata.name!=m06", "m00"},
		{"", "metadata.name=none", ""},
	} {
		for _, rv := range []string{"", "0"} {
			l, err := k.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{LabelSelector: c.labels, FieldSelector: c.fields, ResourceVersion: rv})
			if err != nil {
				t.Fatal(err)
			}
			if rv == "" && names(l) != c.want {
				t.Errorf("%q %q at %q: %s", c.labels, c.fields, rv, names(l))
			}
		}
	}
}

func TestPages(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	many(t, k, 7)
	api, ctx := k.CoreV1().ConfigMaps("default"), t.Context()
	first, err := api.List(ctx, metav1.ListOptions{Limit: 3})
	if err != nil || names(first) != "m00 m01 m02" || first.Continue == "" || ptr.Deref(first.RemainingItemCount, -1) != 4 {
		t.Fatalf("%v %s %+v", err, names(first), first.ListMeta)
	}
	// What comes later is not on the later pages.
	makeMap(t, k, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "m05b"}})
	second, err := api.List(ctx, metav1.ListOptions{Limit: 3, Continue: first.Continue})
	if err != nil || names(second) != "m03 m04 m05" || second.ResourceVersion != first.ResourceVersion {
		t.Fatalf("%v %s", err, names(second))
	}
	third, err := api.List(ctx, metav1.ListOptions{Limit: 3, Continue: second.Continue})
	if err != nil || names(third) != "m06" || third.Continue != "" || third.RemainingItemCount != nil {
		t.Fatalf("%v %s %+v", err, names(third), third.ListMeta)
	}
	selected, err := api.List(ctx, metav1.ListOptions{Limit: 2, LabelSelector: "third"})
	if err != nil || names(selected) != "m00 m03" || selected.Continue == "" || selected.RemainingItemCount != nil {
		t.Errorf("%v %s %+v", err, names(selected), selected.ListMeta)
	}
	if _, err := api.List(ctx, metav1.ListOptions{Limit: 2, Continue: first.Continue, ResourceVersion: "1"}); !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		t.Errorf("continue with a version: %v", err)
	}
}

func TestResourceVersionsOfLists(t *testing.T) {
	t.Parallel()
	c := clustertest.APIServer(t)
	k := clientset(t, c.RESTConfig())
	made := many(t, k, 3)
	api, ctx := k.CoreV1().ConfigMaps("default"), t.Context()
	second := made[1].ResourceVersion
	number, _ := strconv.Atoi(made[2].ResourceVersion)
	for _, c := range []struct {
		name string
		o    metav1.ListOptions
		want string
		err  func(error) bool
	}{
		{"none means what is true now", metav1.ListOptions{}, "m00 m01 m02", nil},
		{"not older than", metav1.ListOptions{ResourceVersion: made[2].ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan}, "m00 m01 m02", nil},
		{"a version alone is not older than", metav1.ListOptions{ResourceVersion: made[2].ResourceVersion}, "m00 m01 m02", nil},
		{"exactly", metav1.ListOptions{ResourceVersion: second, ResourceVersionMatch: metav1.ResourceVersionMatchExact}, "m00 m01", nil},
		{"a limit and a version is exactly", metav1.ListOptions{ResourceVersion: second, ResourceVersionMatch: metav1.ResourceVersionMatchExact, Limit: 5}, "m00 m01", nil},
		{"exactly needs a version", metav1.ListOptions{ResourceVersionMatch: metav1.ResourceVersionMatchExact}, "", apierrors.IsInvalid},
		{"exactly zero is nothing", metav1.ListOptions{ResourceVersion: "0", ResourceVersionMatch: metav1.ResourceVersionMatchExact}, "", apierrors.IsInvalid},
		{"a match that there is not", metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: "Nearly"}, "", apierrors.IsInvalid},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := api.List(ctx, c.o)
			if c.err != nil {
				if !c.err(err) {
					t.Fatalf("%v", err)
				}
				return
			}
			if err != nil || names(l) != c.want {
				t.Errorf("%v %s", err, names(l))
			}
		})
	}
	// The library's client would try for long.
	future := rawTo(t, c.RESTConfig()).get(fmt.Sprintf("%s?resourceVersion=%d", maps, number+100000))
	if s := future.status(t); future.code != 504 || s.Reason != metav1.StatusReasonTimeout || !strings.Contains(s.Message, "Too large resource version") {
		t.Errorf("the future: %s", future.body)
	}
	if _, err := api.Get(ctx, "m00", metav1.GetOptions{ResourceVersion: "0"}); err != nil {
		t.Errorf("get from the cache: %v", err)
	}
}

// aged gives a server that has forgotten its past, and a page that is older.
func aged(t testing.TB) (*bare, *corev1.ConfigMapList) {
	t.Helper()
	config := apiserver.Config{Etcd: etcd.Config{Dir: t.TempDir(), NoSync: true, Tick: 10 * time.Millisecond}}
	first := start(t, config)
	k := clientset(t, first.admin())
	many(t, k, 3)
	page, err := k.CoreV1().ConfigMaps("default").List(t.Context(), metav1.ListOptions{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("between")})
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	second := start(t, config)
	if a := rawTo(t, second.admin()).get(maps + "?resourceVersion=" + page.ResourceVersion + "&resourceVersionMatch=Exact"); a.code != 200 {
		t.Errorf("before: %d %s", a.code, a.body)
	}
	makeMap(t, clientset(t, second.admin()), &corev1.ConfigMap{ObjectMeta: named("new")})
	if err := second.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	return second, page
}

func TestCompactedVersionsAreGone(t *testing.T) {
	t.Parallel()
	c, page := aged(t)
	r := rawTo(t, c.admin())
	a := r.get(maps + "?limit=1&continue=" + url.QueryEscape(page.Continue))
	if s := a.status(t); a.code != 410 || s.Reason != metav1.StatusReasonExpired ||
		!strings.HasPrefix(s.Message, "The provided continue parameter is too old to display a consistent list result.") || s.Continue == "" {
		t.Errorf("%d %s", a.code, a.body)
	} else if a := r.get(maps + "?limit=5&continue=" + url.QueryEscape(s.Continue)); a.code != 200 || !strings.Contains(string(a.body), "m02") {
		t.Errorf("the token that the refusal gives: %d %s", a.code, a.body)
	}
	a = r.get(maps + "?resourceVersion=2&resourceVersionMatch=Exact")
	if s := a.status(t); a.code != 410 || s.Reason != metav1.StatusReasonExpired {
		t.Errorf("%d %s", a.code, a.body)
	}
}

// watcher reads events with patience.
type watcher struct {
	t testing.TB
	watch.Interface
}

func watchMaps(t testing.TB, k *kubernetes.Clientset, o metav1.ListOptions) *watcher {
	t.Helper()
	w, err := k.CoreV1().ConfigMaps("default").Watch(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return &watcher{t, w}
}

func (w *watcher) next() watch.Event {
	w.t.Helper()
	select {
	case e, ok := <-w.ResultChan():
		if !ok {
			return watch.Event{Type: "CLOSED"}
		}
		return e
	case <-time.After(patience):
		w.t.Fatal("no event")
		return watch.Event{}
	}
}

// text is an event as its type and name.
func text(e watch.Event) string {
	if m, ok := e.Object.(metav1.Object); ok {
		return string(e.Type) + " " + m.GetName()
	}
	return string(e.Type)
}

func (w *watcher) expect(want ...string) {
	w.t.Helper()
	for _, s := range want {
		if got := text(w.next()); got != s {
			w.t.Fatalf("event %q, want %q", got, s)
		}
	}
}

func TestWatches(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	api, ctx := k.CoreV1().ConfigMaps("default"), t.Context()
	made := many(t, k, 3)

	from := watchMaps(t, k, metav1.ListOptions{ResourceVersion: made[0].ResourceVersion})
	from.expect("ADDED m01", "ADDED m02")
	selected := watchMaps(t, k, metav1.ListOptions{ResourceVersion: made[2].ResourceVersion, LabelSelector: "third"})
	one := watchMaps(t, k, metav1.ListOptions{ResourceVersion: made[2].ResourceVersion, FieldSelector: "metadata.name=m01"})

	label := func(name string, on bool) {
		t.Helper()
		m, err := api.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		delete(m.Labels, "third")
		if on {
			m.Labels["third"] = ""
		}
		if _, err := api.Update(ctx, m, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	label("m01", true)
	label("m01", false)
	if err := api.Delete(ctx, "m01", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	from.expect("MODIFIED m01", "MODIFIED m01")
	gone := from.next()
	if text(gone) != "DELETED m01" || gone.Object.(*corev1.ConfigMap).ResourceVersion <= made[2].ResourceVersion && len(made[2].ResourceVersion) == len(gone.Object.(*corev1.ConfigMap).ResourceVersion) {
		t.Errorf("%s at %s", text(gone), gone.Object.(*corev1.ConfigMap).ResourceVersion)
	}
	selected.expect("ADDED m01", "DELETED m01")
	one.expect("MODIFIED m01", "MODIFIED m01", "DELETED m01")

	synthetic := watchMaps(t, k, metav1.ListOptions{})
	synthetic.expect("ADDED m00", "ADDED m02")

	short := watchMaps(t, k, metav1.ListOptions{TimeoutSeconds: ptr.To[int64](1)})
	short.expect("ADDED m00", "ADDED m02", "CLOSED")
}

func TestInitialEventsEndWithABookmark(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	many(t, k, 2)
	w := watchMaps(t, k, metav1.ListOptions{
		SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	w.expect("ADDED m00", "ADDED m01")
	mark := w.next()
	m := mark.Object.(*corev1.ConfigMap)
	if mark.Type != watch.Bookmark || m.Annotations[metav1.InitialEventsAnnotationKey] != "true" || m.ResourceVersion == "" {
		t.Errorf("%s %+v", mark.Type, m)
	}
	makeMap(t, k, &corev1.ConfigMap{ObjectMeta: named("later")})
	w.expect("ADDED later")
	if _, err := k.CoreV1().ConfigMaps("default").Watch(t.Context(), metav1.ListOptions{SendInitialEvents: ptr.To(true)}); !apierrors.IsInvalid(err) {
		t.Errorf("without a match: %v", err)
	}
}

func TestTooOldWatchesAreGone(t *testing.T) {
	t.Parallel()
	c, _ := aged(t)
	w := watchMaps(t, clientset(t, c.admin()), metav1.ListOptions{ResourceVersion: "1"})
	e := w.next()
	s, ok := e.Object.(*metav1.Status)
	if e.Type != watch.Error || !ok || s.Code != 410 || s.Reason != metav1.StatusReasonExpired || !strings.HasPrefix(s.Message, "too old resource version: 1 (") {
		t.Errorf("%s %+v", e.Type, e.Object)
	}
	w.expect("CLOSED")
}

func TestWatchesEndWithTheirClient(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	ctx, cancel := context.WithCancel(t.Context())
	w, err := k.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, func() error {
		select {
		case _, ok := <-w.ResultChan():
			if !ok {
				return nil
			}
		default:
		}
		return errors.New("still open")
	})
}
