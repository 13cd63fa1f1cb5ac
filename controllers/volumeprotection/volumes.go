package volumeprotection

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/skiffcluster/skiff/controllers/turn"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// Volumes protects volumes.
type Volumes struct {
	Client client.Client
}

// SetupWithManager adds the controller to mgr.
func (r *Volumes) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("persistentvolume-protection-controller").
		For(&corev1.PersistentVolume{}).
		Complete(r)
}

// Reconcile runs one turn for one volume.
func (r *Volumes) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	v := &corev1.PersistentVolume{}
	if err := r.Client.Get(ctx, req.NamespacedName, v); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if v.DeletionTimestamp != nil && v.Status.Phase == corev1.VolumeBound && controllerutil.ContainsFinalizer(v, VolumeFinalizer) {
		return ctrl.Result{}, nil // its claim uses it
	}
	return ctrl.Result{}, keepFinalizer(ctx, r.Client, v, VolumeFinalizer, v.DeletionTimestamp == nil)
}
