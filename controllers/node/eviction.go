package node

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"
)

// clocks are since when a pod has stood under each NoExecute taint of its node.
type clocks map[corev1.Taint]time.Time

// identity is a taint without the time it was added at.
func identity(taint corev1.Taint) corev1.Taint {
	return corev1.Taint{Key: taint.Key, Value: taint.Value, Effect: taint.Effect}
}

// tick returns the clocks of a pod under these taints: those that run go on, and
// those of taints that are gone end.
func (c clocks) tick(taints []corev1.Taint, now time.Time) clocks {
	next := clocks{}
	for _, taint := range taints {
		id := identity(taint)
		if since, runs := c[id]; runs {
			next[id] = since
		} else {
			next[id] = now
		}
	}
	return next
}

// evictAt returns when a pod with these tolerations must go; never is true when
// it may stay as long as the taints are as they are.
func evictAt(tolerations []corev1.Toleration, running clocks) (at time.Time, never bool) {
	never = true
	for taint, since := range running {
		tolerates, forever, patience := tolerance(tolerations, taint)
		var limit time.Time
		switch {
		case !tolerates:
			limit = since
		case forever:
			continue
		default:
			limit = since.Add(patience)
		}
		if never || limit.Before(at) {
			at, never = limit, false
		}
	}
	return at, never
}

// tolerance is how long a taint is tolerated: the first toleration that matches
// it tells. Negative seconds are none.
func tolerance(tolerations []corev1.Toleration, taint corev1.Taint) (tolerates, forever bool, patience time.Duration) {
	for i := range tolerations {
		if !tolerations[i].ToleratesTaint(klog.Background(), &taint, true) {
			continue
		}
		seconds := tolerations[i].TolerationSeconds
		if seconds == nil {
			return true, true, 0
		}
		return true, false, time.Duration(max(*seconds, 0)) * time.Second
	}
	return false, false, 0
}

func noExecute(taints []corev1.Taint) []corev1.Taint {
	var found []corev1.Taint
	for _, taint := range taints {
		if taint.Effect == corev1.TaintEffectNoExecute {
			found = append(found, taint)
		}
	}
	return found
}

// pending is an eviction that waits for its time.
type pending struct {
	uid     types.UID
	running clocks
}
