// Package turn runs the steps of one turn of a reconciler, in order.
//
// Reads nothing, writes nothing. Start at [InOrder].
package turn

import (
	"context"
	"time"

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
