package apiserver_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/skiffcluster/skiff/cluster/clustertest"
)

// TestEvents lists and watches the one resource that has no watch cache.
func TestEvents(t *testing.T) {
	t.Parallel()
	k := clientset(t, clustertest.APIServer(t).RESTConfig())
	events := k.CoreV1().Events("default")
	happen := func(name, pod string) *corev1.Event {
		t.Helper()
		e, err := events.Create(t.Context(), &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{Name: name},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "default", Name: pod},
			Reason:         "Started",
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	// next takes the name of the next object of a kind of event.
	next := func(w watch.Interface, kind watch.EventType) metav1.Object {
		t.Helper()
		select {
		case e := <-w.ResultChan():
			o, ok := e.Object.(metav1.Object)
			if !ok || e.Type != kind {
				t.Fatalf("got %v of %T, want %s", e.Type, e.Object, kind)
			}
			return o
		case <-time.After(30 * time.Second):
			t.Fatalf("no %s within 30 s", kind)
		}
		return nil
	}
	begin := func(o metav1.ListOptions) watch.Interface {
		t.Helper()
		w, err := events.Watch(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Stop)
		return w
	}
	happen("first", "a")
	list, err := events.List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("got %d events, %v", len(list.Items), err)
	}
	informer := begin(metav1.ListOptions{
		SendInitialEvents: new(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	})
	later := begin(metav1.ListOptions{ResourceVersion: list.ResourceVersion})
	selected := begin(metav1.ListOptions{ResourceVersion: "0", FieldSelector: "involvedObject.name=b"})

	if got := next(informer, watch.Added).GetName(); got != "first" {
		t.Errorf("the informer begins with %s", got)
	}
	if next(informer, watch.Bookmark).GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
		t.Error("the informer is not told that it has all that there was")
	}
	second := happen("second", "b")
	for _, w := range []watch.Interface{informer, later, selected} {
		if got := next(w, watch.Added).GetName(); got != "second" {
			t.Errorf("got %s, want the second", got)
		}
	}
	second.Count = 2
	if _, err := events.Update(t.Context(), second, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := events.Delete(t.Context(), "second", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, w := range []watch.Interface{informer, later, selected} {
		if e, ok := next(w, watch.Modified).(*corev1.Event); !ok || e.Count != 2 {
			t.Errorf("got %v, want a count of 2", e)
		}
		if e, ok := next(w, watch.Deleted).(*corev1.Event); !ok || e.Name != "second" {
			t.Errorf("got %v, want the end of the second", e)
		}
	}
	for _, name := range []string{"third", "fourth"} {
		happen(name, "b")
	}
	page, err := events.List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=b", Limit: 1})
	if err != nil || len(page.Items) != 1 || page.Continue == "" {
		t.Fatalf("got a page of %d, %v", len(page.Items), err)
	}
	rest, err := events.List(t.Context(), metav1.ListOptions{FieldSelector: "involvedObject.name=b", Limit: 1, Continue: page.Continue})
	if err != nil || len(rest.Items) != 1 || rest.Items[0].Name == page.Items[0].Name {
		t.Fatalf("got %v after %v, %v", rest.Items, page.Items, err)
	}
	both, err := k.EventsV1().Events("default").List(t.Context(), metav1.ListOptions{FieldSelector: "regarding.name=b"})
	if err != nil || len(both.Items) != 2 {
		t.Errorf("events.k8s.io has %d, %v", len(both.Items), err)
	}
}
