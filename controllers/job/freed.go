package job

import (
	"slices"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// freed remembers, for each Job, the pods that have lost their finalizer while
// the cache still shows them with it. The version that the server answers with
// does not tell when the cache has caught up, if the pod was deleted by that
// very write; and a pod that is looked at again would be counted again.
type freed struct {
	mu    sync.Mutex
	byJob map[types.NamespacedName]map[types.UID]bool
}

func (f *freed) add(key types.NamespacedName, pod types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byJob == nil {
		f.byJob = map[types.NamespacedName]map[types.UID]bool{}
	}
	if f.byJob[key] == nil {
		f.byJob[key] = map[types.UID]bool{}
	}
	f.byJob[key][pod] = true
}

// apply returns pods as they are by now, without the finalizer if they have
// lost it, and forgets those that the cache shows so too.
func (f *freed) apply(key types.NamespacedName, pods []*corev1.Pod) []*corev1.Pod {
	f.mu.Lock()
	defer f.mu.Unlock()
	before := f.byJob[key]
	if len(before) == 0 {
		return pods
	}
	left := map[types.UID]bool{}
	pods = slices.Clone(pods)
	for i, pod := range pods {
		if !before[pod.UID] || !isTracked(pod) {
			continue
		}
		left[pod.UID] = true
		pods[i] = pod.DeepCopy()
		pods[i].Finalizers = slices.DeleteFunc(pods[i].Finalizers, func(name string) bool { return name == batchv1.JobTrackingFinalizer })
	}
	f.byJob[key] = left
	return pods
}

func (f *freed) forget(key types.NamespacedName) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byJob, key)
}
