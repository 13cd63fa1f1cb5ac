package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
)

// resize is one step of a plan: a set, and how many pods it should ask for.
type resize struct {
	set  *appsv1.ReplicaSet
	size int32
}

// planNewSize says how many pods the newest set should ask for (nil: it is
// about to be created). In a rolling update all sets together never ask for
// more than spec.replicas and the surge.
func planNewSize(d *appsv1.Deployment, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) int32 {
	var size int32
	if newest != nil {
		size = sizeOf(newest)
	}
	want := replicas(d)
	if size >= want || !isRolling(d) {
		return want
	}
	room := want + limitsOf(d).surge - size - total(old)
	return size + max(0, min(room, want-size))
}

// planOldDown takes all pods from the old sets.
func planOldDown(old []*appsv1.ReplicaSet) []resize {
	var plan []resize
	for _, set := range old {
		if sizeOf(set) > 0 {
			plan = append(plan, resize{set, 0})
		}
	}
	return plan
}

// planRolling is one step of a rolling update. The new set grows as far as the
// surge lets it. The old ones then shrink as far as enough pods stay available:
// the ones that are not available first, since ending those costs nothing.
//
// With spec.replicas 10, maxSurge 3 and maxUnavailable 2, and all of 10 old
// pods available, the new set gets 3 and the old one is left with 8.
func planRolling(d *appsv1.Deployment, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) []resize {
	newSize := planNewSize(d, newest, old)
	plan := []resize{{newest, newSize}}

	floor := replicas(d) - limitsOf(d).unavailable
	available := availableOf(newest)
	starting := newSize - available
	// What is asked for beyond the floor, not counting on new pods that are not
	// available yet. Sizes and not counts of pods, so that a step that is not
	// carried out yet is not taken twice.
	budget := newSize + total(old) - floor - starting
	if budget <= 0 {
		return plan
	}

	sizes := make([]int32, len(old))
	for i, set := range old {
		available += availableOf(set)
		down := min(budget, sizeOf(set)-availableOf(set))
		budget -= down
		sizes[i] = sizeOf(set) - down
	}
	excess := max(0, available-floor)
	for i := range old {
		down := min(excess, sizes[i])
		excess -= down
		sizes[i] -= down
	}
	for i, set := range old {
		if sizes[i] != sizeOf(set) {
			plan = append(plan, resize{set, sizes[i]})
		}
	}
	return plan
}

// availableOf is how many available pods a set has and keeps: a status from
// before it shrank counts pods that are about to end.
func availableOf(set *appsv1.ReplicaSet) int32 { return min(set.Status.AvailableReplicas, sizeOf(set)) }

// wasScaled tells whether spec.replicas has changed since the active sets were
// sized: then that is spread over them before the rollout goes on.
func wasScaled(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) bool {
	return slices.ContainsFunc(active(sets), func(set *appsv1.ReplicaSet) bool {
		_, known := set.Annotations[desiredAnnotation]
		return known && numberIn(set.Annotations, desiredAnnotation) != int64(replicas(d))
	})
}

// planScale spreads spec.replicas over the sets without rolling anything out.
// A single active set, or else the newest, gets all of it. Several sets, in the
// middle of a rolling update, get a part by their size, so that the risk stays
// spread as it is ("proportional scaling").
func planScale(d *appsv1.Deployment, newest *appsv1.ReplicaSet, old []*appsv1.ReplicaSet) []resize {
	all := append(slices.Clone(old), newest)
	if newest == nil {
		all = slices.Clone(old)
	}
	running := active(all)
	switch {
	case len(all) == 0:
		return nil
	case len(running) == 0:
		return []resize{{all[len(all)-1], replicas(d)}}
	case len(running) == 1:
		return []resize{{running[0], replicas(d)}}
	case isSaturated(d, newest):
		return planOldDown(old)
	}

	var allowed int32
	if replicas(d) > 0 {
		allowed = replicas(d) + limitsOf(d).surge
	}
	toAdd := allowed - total(running)
	slices.SortStableFunc(running, func(a, b *appsv1.ReplicaSet) int {
		byDate := byAge(a, b) // for shrinking, the older first
		if toAdd > 0 {
			byDate = -byDate
		}
		return cmp.Or(cmp.Compare(sizeOf(b), sizeOf(a)), byDate)
	})
	plan := make([]resize, len(running))
	var added int32
	for i, set := range running {
		part := proportion(d, set, toAdd, added)
		added += part
		plan[i] = resize{set, sizeOf(set) + part}
	}
	// Rounding leaves a few over, or takes a few too many: the largest set's.
	plan[0].size = max(0, plan[0].size+toAdd-added)
	return plan
}

// proportion is a set's part of the toAdd pods (which may be negative) of which
// added are given out already.
func proportion(d *appsv1.Deployment, set *appsv1.ReplicaSet, toAdd, added int32) int32 {
	part := growth(d, set)
	if toAdd > 0 {
		return min(part, toAdd-added)
	}
	return max(part, toAdd-added)
}

// growth is by how much a set changes when it keeps its part of the whole. The
// whole is what the set remembers, spec.replicas and surge at that time.
func growth(d *appsv1.Deployment, set *appsv1.ReplicaSet) int32 {
	if replicas(d) == 0 {
		return -sizeOf(set)
	}
	whole := numberIn(set.Annotations, maxReplicasAnnotation)
	if whole <= 0 {
		whole = int64(d.Status.Replicas)
	}
	if whole <= 0 {
		return 0
	}
	size := float64(sizeOf(set)) * float64(replicas(d)+limitsOf(d).surge) / float64(whole)
	return int32(math.Round(size)) - sizeOf(set)
}

// isSaturated tells whether the newest set has all the pods that the Deployment
// asks for, and all are available.
func isSaturated(d *appsv1.Deployment, newest *appsv1.ReplicaSet) bool {
	want := replicas(d)
	return newest != nil && sizeOf(newest) == want && newest.Status.AvailableReplicas == want &&
		numberIn(newest.Annotations, desiredAnnotation) == int64(want)
}

// active returns the sets that ask for any pods.
func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	return slices.DeleteFunc(slices.Clone(sets), func(set *appsv1.ReplicaSet) bool { return sizeOf(set) == 0 })
}

// planHistory returns the sets beyond revisionHistoryLimit, the oldest
// revisions first; only such as have no pods and are not being deleted.
func planHistory(d *appsv1.Deployment, old []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	limit := ptr.Deref(d.Spec.RevisionHistoryLimit, 10)
	if limit == math.MaxInt32 {
		return nil
	}
	alive := slices.DeleteFunc(slices.Clone(old), func(set *appsv1.ReplicaSet) bool { return set.DeletionTimestamp != nil })
	tooMany := len(alive) - int(limit)
	if tooMany <= 0 {
		return nil
	}
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revisionOf(a), revisionOf(b)), byAge(a, b))
	})
	var doomed []*appsv1.ReplicaSet
	for _, set := range alive[:tooMany] {
		if sizeOf(set) == 0 && set.Status.Replicas == 0 && set.Generation <= set.Status.ObservedGeneration {
			doomed = append(doomed, set)
		}
	}
	return doomed
}
