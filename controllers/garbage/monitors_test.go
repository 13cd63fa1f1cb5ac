package garbage

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	cachetesting "k8s.io/client-go/tools/cache/testing"
)

// TestFollowAnInformer lets objects come and go in an informer of others.
func TestFollowAnInformer(t *testing.T) {
	source := cachetesting.NewFakeControllerSource()
	made := func(name, uid string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(uid)}}
	}
	source.Add(made("a", "a1"))
	source.Add(made("b", "b1"))
	informer := cache.NewSharedIndexInformer(source, &corev1.Pod{}, 0, nil)
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()
	defer cancel()

	var mu sync.Mutex
	var gone []types.UID
	m := &monitors{graph: newGraph(), enqueue: func(checks) {}, onGone: func(o *object) {
		mu.Lock()
		defer mu.Unlock()
		gone = append(gone, o.uid)
	}}
	each, err := m.follow(informer, podsResource, "Pod")
	if err != nil {
		t.Fatal(err)
	}
	known := func() []types.UID {
		m.graph.mu.RLock()
		defer m.graph.mu.RUnlock()
		var uids []types.UID
		for uid := range m.graph.objects {
			uids = append(uids, uid)
		}
		slices.Sort(uids)
		return uids
	}
	shows := func(want ...types.UID) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for !slices.Equal(known(), want) || !each.synced() {
			if time.Now().After(deadline) {
				t.Fatalf("the graph has %v, want %v", known(), want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	shows("a1", "b1")
	source.Add(made("c", "c1"))
	shows("a1", "b1", "c1")
	source.Delete(made("a", "a1"))
	shows("b1", "c1")
	source.Modify(made("b", "b2")) // of the name, but another: the end of the first was missed
	shows("b2", "c1")
	each.stop()
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(gone, []types.UID{"a1", "b1"}) {
		t.Errorf("gone are %v, want a1 and b1", gone)
	}
}
