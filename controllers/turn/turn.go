// Package turn has what all reconcilers share: the queue that their turns come
// from, the steps of a turn in order, and its end.
//
// Reads nothing, writes nothing. Start at [NewController] and [InOrder].
package turn

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

// Step is one part of a turn on a scope S: what has been read and decided.
type Step[S any] func(ctx context.Context, scope S) (ctrl.Result, error)

// InOrder runs steps until one fails. The result asks for the next turn at the
// earliest time that any step asked for.
func InOrder[S any](ctx context.Context, scope S, steps ...Step[S]) (ctrl.Result, error) {
	var all ctrl.Result
	for _, step := range steps {
		result, err := step(ctx, scope)
		if err != nil {
			return ctrl.Result{}, err
		}
		all = Sooner(all, result.RequeueAfter)
	}
	return all, nil
}

// Sooner returns result with the next turn after wait, if that is earlier.
// No wait, or a negative one, leaves it as it is.
func Sooner(result ctrl.Result, wait time.Duration) ctrl.Result {
	if wait > 0 && (result.RequeueAfter == 0 || wait < result.RequeueAfter) {
		result.RequeueAfter = wait
	}
	return result
}

// Conflict is how long the next turn waits when a write lost against another's:
// until the cache has learnt of that.
const Conflict = 10 * time.Millisecond

// Written ends a turn by what came of writing a status. One that is written
// leaves result as it is; an object that is gone needs no other turn; one that
// has changed meanwhile gets one, since its event may have been let pass.
func Written(ctx context.Context, result ctrl.Result, err error) (ctrl.Result, error) {
	switch {
	case err == nil:
		return result, nil
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil
	case apierrors.IsConflict(err):
		klog.FromContext(ctx).V(1).Info("Status is written in the next turn, the object has changed")
		return ctrl.Result{RequeueAfter: Conflict}, nil
	default:
		return result, fmt.Errorf("update status: %w", err)
	}
}
