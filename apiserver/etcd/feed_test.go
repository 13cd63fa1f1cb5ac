package etcd

import (
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
	"k8s.io/apiserver/pkg/storage"
)

// TestACacheStopsInABurst has a cache give out its events slowly, so that the
// one who reads them from etcd waits when the cache is stopped.
func TestACacheStopsInABurst(t *testing.T) {
	const room = 100 // between the two; each event takes it twice
	g := getter(t, openIn(t, t.TempDir()))
	options, err := g.GetRESTOptions(schema.GroupResource{Resource: "configmaps"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var read atomic.Int64
	given := make(chan struct{})
	slowly := func(runtime.Object) string {
		<-given
		time.Sleep(time.Millisecond)
		return ""
	}
	s, destroy, err := g.open(options.StorageConfig, "/configmaps",
		func(obj runtime.Object) (string, error) { return "/configmaps/" + obj.(*corev1.ConfigMap).Name, nil },
		func() runtime.Object { return &corev1.ConfigMap{} }, func() runtime.Object { return &corev1.ConfigMapList{} },
		func(runtime.Object) (labels.Set, fields.Set, error) {
			read.Add(1)
			return nil, fields.Set{}, nil
		}, storage.IndexerFuncs{"field": slowly}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range room {
		obj := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint(i)}}
		if err := s.Create(t.Context(), "/configmaps/"+obj.Name, obj, &corev1.ConfigMap{}, 0); err != nil {
			t.Fatal(err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for read.Load() <= room/2 {
		if time.Now().After(deadline) {
			t.Fatalf("%d events were read", read.Load())
		}
		time.Sleep(time.Millisecond)
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		destroy()
	}()
	close(given)
	select {
	case <-stopped:
	case <-time.After(time.Minute):
		t.Error("the cache does not stop")
	}
}
