package garbage

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// verdict is what is known of one owner of an object.
type verdict int

const (
	solid    verdict = iota // exists and stays
	waiting                 // exists and is being deleted in the foreground
	absent                  // does not exist
	released                // does not exist, and has let its dependents go
)

// action is what to do with one object.
type action struct {
	// delete the object, with this policy; empty: do not.
	delete metav1.DeletionPropagation
	// owners, when set, replace the object's owner references (before a
	// deletion, if there is one).
	owners    []metav1.OwnerReference
	setOwners bool
}

// planItem decides about an object that is not being deleted. verdicts are of
// o.owners, in order; dependents are what o itself owns.
//
//   - One owner that stays keeps the object; references to others are dropped.
//   - Owners that have all let it go are dropped, and it stays.
//   - Else, an owner that waits for the object, which has dependents of its own,
//     makes it wait for them too.
//   - Else it goes, the way its own finalizers ask for.
func planItem(o *object, verdicts []verdict, dependents []*object) action {
	var kept []metav1.OwnerReference
	anyWaiting, let := false, 0
	for i, v := range verdicts {
		if v == released {
			let++
		}
		if v == solid {
			kept = append(kept, o.owners[i])
		}
		anyWaiting = anyWaiting || v == waiting
	}
	switch {
	case len(o.owners) == 0, len(kept) == len(o.owners):
		return action{}
	case len(kept) > 0, let == len(o.owners):
		return action{owners: kept, setOwners: true}
	case anyWaiting && len(dependents) > 0:
		a := action{delete: metav1.DeletePropagationForeground}
		for _, dependent := range dependents {
			if dependent.waitsForDependents() {
				// Maybe a circle, in which everybody waits for the next: this
				// one stops to hold up its owners.
				a.owners, a.setOwners = unblocked(o.owners), true
				break
			}
		}
		return a
	case o.orphanMark:
		return action{delete: metav1.DeletePropagationOrphan}
	case o.foregroundMark:
		return action{delete: metav1.DeletePropagationForeground}
	}
	return action{delete: metav1.DeletePropagationBackground}
}

// unblocked returns the references without any hold on the owners' deletion.
func unblocked(owners []metav1.OwnerReference) []metav1.OwnerReference {
	result := make([]metav1.OwnerReference, len(owners))
	for i, owner := range owners {
		result[i] = owner
		result[i].BlockOwnerDeletion = ptr.To(false)
	}
	return result
}

// without returns the references but those to uid.
func without(owners []metav1.OwnerReference, uid types.UID) []metav1.OwnerReference {
	var kept []metav1.OwnerReference
	for _, owner := range owners {
		if owner.UID != uid {
			kept = append(kept, owner)
		}
	}
	return kept
}

// planForeground decides about an object that waits for its dependents: whether
// it may go, and which dependents must be looked at so that they go.
func planForeground(o *object, dependents []*object) (done bool, look []types.UID) {
	done = true
	for _, dependent := range dependents {
		if dependent.blocks(o.uid) {
			done = false
		}
		if !dependent.deleting {
			look = append(look, dependent.uid)
		}
	}
	return done, look
}
