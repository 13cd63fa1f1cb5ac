package job

import (
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// After a failure the next pod waits 10s, and twice as long after each further
// one, at most 10min. The numbers are upstream's.
const (
	firstDelay   = 10 * time.Second
	longestDelay = 10 * time.Minute
)

// delay is how long to wait from now on, after a number of failures in a row of
// which the last was at a given time.
func delay(failures int, last, now time.Time) time.Duration {
	if failures == 0 {
		return 0
	}
	wait := longestDelay
	if failures < 7 { // 10s × 2^6 is more than 10min
		wait = firstDelay << (failures - 1)
	}
	return max(0, last.Add(wait).Sub(now))
}

// record is how often a Job's pods failed since one last succeeded.
type record struct {
	failures int
	last     time.Time
}

// after returns the record with pods in it that have ended since.
func (r record) after(succeeded, failed []*corev1.Pod) record {
	if len(succeeded) > 0 {
		r = record{}
		var lastSuccess time.Time
		for _, pod := range succeeded {
			if at := endedAt(pod); at.After(lastSuccess) {
				lastSuccess = at
			}
		}
		failed = slices.DeleteFunc(slices.Clone(failed), func(pod *corev1.Pod) bool { return !endedAt(pod).After(lastSuccess) })
	}
	for _, pod := range failed {
		r.failures++
		if at := endedAt(pod); at.After(r.last) {
			r.last = at
		}
	}
	return r
}

// records remembers the record of each Job. It is lost with the process, which
// costs no more than a retry that comes early.
type records struct {
	mu    sync.Mutex
	byJob map[types.NamespacedName]kept
}

// kept names the Job as well: another may come under the same name.
type kept struct {
	uid types.UID
	record
}

func (r *records) get(key types.NamespacedName, uid types.UID) record {
	r.mu.Lock()
	defer r.mu.Unlock()
	if found := r.byJob[key]; found.uid == uid {
		return found.record
	}
	return record{}
}

func (r *records) set(key types.NamespacedName, uid types.UID, value record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byJob == nil {
		r.byJob = map[types.NamespacedName]kept{}
	}
	r.byJob[key] = kept{uid, value}
}

func (r *records) forget(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byJob, key)
}
