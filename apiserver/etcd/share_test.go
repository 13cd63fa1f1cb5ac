package etcd

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
)

// TestVersionsOfAnObjectShare checks which versions the watch cache has share
// what they have in common: each with the one before it.
func TestVersionsOfAnObjectShare(t *testing.T) {
	shared := make(chan string, 100)
	g := getter(t, openIn(t, t.TempDir()))
	g.Share = func(obj, before runtime.Object) {
		shared <- fmt.Sprint(before.(*corev1.ConfigMap).Data["at"], " ", obj.(*corev1.ConfigMap).Data["at"])
	}
	s := openConfigMaps(t, g)
	ctx, key := t.Context(), "/configmaps/a"
	set := func(at string) {
		t.Helper()
		err := s.GuaranteedUpdate(ctx, key, &corev1.ConfigMap{}, true, nil, storage.SimpleUpdate(func(obj runtime.Object) (runtime.Object, error) {
			m := obj.(*corev1.ConfigMap)
			m.Name, m.Data = "a", map[string]string{"at": at}
			return m, nil
		}), nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	set("1")
	set("2")
	if err := s.Create(ctx, "/configmaps/b", &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "b"}, Data: map[string]string{"at": "x"}}, nil, 0); err != nil {
		t.Fatal(err)
	}
	set("3")
	if err := s.Delete(ctx, key, &corev1.ConfigMap{}, nil, storage.ValidateAllObjectFunc, nil, storage.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	set("4")
	set("5")
	for _, want := range []string{"1 2", "2 3", "3 3", "4 5"} {
		select {
		case got := <-shared:
			if got != want {
				t.Errorf("shared %q, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q is not shared", want)
		}
	}
}
