package podctl

import (
	"context"
	"fmt"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/internal/consistency"
)

// Track returns a tracker of writes to objects of obj's kind, as the manager's
// cache sees them.
func Track(ctx context.Context, mgr ctrl.Manager, obj client.Object) (*consistency.Tracker, error) {
	informer, err := mgr.GetCache().GetInformer(ctx, obj)
	if err != nil {
		return nil, fmt.Errorf("get informer of %T: %w", obj, err)
	}
	tracker, err := consistency.New(informer)
	if err != nil {
		return nil, fmt.Errorf("track writes of %T: %w", obj, err)
	}
	return tracker, nil
}
