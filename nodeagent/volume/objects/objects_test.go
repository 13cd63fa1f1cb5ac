package objects_test

import (
	"context"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/skiffcluster/skiff/cluster/clustertest"
	"github.com/skiffcluster/skiff/nodeagent/volume/objects"
)

func podNaming(uid string, configMaps ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: uid, UID: types.UID(uid)}}
	for _, name := range configMaps {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: name}},
		}})
	}
	return pod
}

func start(t *testing.T, c *clustertest.Cluster) *objects.Cache {
	t.Helper()
	cache, err := objects.New(objects.Config{REST: c.RESTConfig()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- cache.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return cache
}

// changed waits until these pods are told of.
func changed(t *testing.T, cache *objects.Cache, want ...types.UID) {
	t.Helper()
	var got []types.UID
	for len(got) < len(want) {
		select {
		case <-cache.Changed():
			for _, uid := range cache.TakeChanged() {
				if !slices.Contains(got, uid) {
					got = append(got, uid)
				}
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("told of %v, want %v", got, want)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Fatalf("told of %v, want %v", got, want)
	}
}

func TestPodsAreToldOfWhatTheyName(t *testing.T) {
	c := clustertest.APIServer(t)
	cache := start(t, c)
	shared := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "shared"}, Data: map[string]string{"a": "1"}}
	if err := c.Client().Create(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	cache.Register(podNaming("p1", "shared"))
	cache.Register(podNaming("p2", "shared", "later"))

	m, err := cache.ConfigMap(t.Context(), "default", "shared")
	if err != nil || m.Data["a"] != "1" {
		t.Fatalf("%v (%v)", m, err)
	}
	if _, err := cache.ConfigMap(t.Context(), "default", "later"); err == nil || err.Error() != `configmap "later" not found` {
		t.Errorf("what is not there gives %v", err)
	}
	if _, err := cache.Secret(t.Context(), "default", "unnamed"); err == nil || err.Error() != `secret "unnamed" not found` {
		t.Errorf("what no pod names gives %v", err)
	}

	if err := c.Client().Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "later"}}); err != nil {
		t.Fatal(err)
	}
	changed(t, cache, "p2")
	shared.Data["a"] = "2"
	if err := c.Client().Update(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	changed(t, cache, "p1", "p2")
	if m, err := cache.ConfigMap(t.Context(), "default", "shared"); err != nil || m.Data["a"] != "2" {
		t.Errorf("after the change %v (%v)", m, err)
	}

	cache.Unregister("p2")
	cache.Register(podNaming("p1", "shared")) // again, as after an update of the pod
	if err := c.Client().Delete(t.Context(), shared); err != nil {
		t.Fatal(err)
	}
	changed(t, cache, "p1")
	if _, err := cache.ConfigMap(t.Context(), "default", "shared"); err == nil || err.Error() != `configmap "shared" not found` {
		t.Errorf("after deletion %v", err)
	}
	cache.Unregister("p1")
	cache.Unregister("p1")
}
