package job

import (
	"testing"

	"k8s.io/apimachinery/pkg/types"
)

func TestFreed(t *testing.T) {
	key := types.NamespacedName{Namespace: "default", Name: "job"}
	var f freed
	stale := newPods("~running running") // of the UIDs 0 and 1
	f.add(key, "0")
	for range 2 { // as long as the cache is behind
		if seen := f.apply(key, stale); isTracked(seen[0]) || !isTracked(seen[1]) || !isTracked(stale[0]) {
			t.Errorf("got %v, cached %v", seen[0].Finalizers, stale[0].Finalizers)
		}
	}
	f.apply(key, stale[1:]) // it has caught up
	if seen := f.apply(key, stale); !isTracked(seen[0]) {
		t.Error("the pod was not forgotten")
	}
}
