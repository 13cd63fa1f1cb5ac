package expand

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims;persistentvolumes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler records what claims that grow wait for.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder
}

// SetupWithManager adds the controller to mgr: claims have a turn when they
// come, and when what they ask for or have grows.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("persistentvolume-expander-controller").
		For(&corev1.PersistentVolumeClaim{}, builder.WithPredicates(predicate.Funcs{
			CreateFunc: func(e event.CreateEvent) bool {
				claim, ok := e.Object.(*corev1.PersistentVolumeClaim)
				return ok && wantsMore(claim)
			},
			UpdateFunc: func(e event.UpdateEvent) bool {
				before, ok1 := e.ObjectOld.(*corev1.PersistentVolumeClaim)
				after, ok2 := e.ObjectNew.(*corev1.PersistentVolumeClaim)
				return ok1 && ok2 && wantsMore(after) && grew(before, after)
			},
			DeleteFunc: func(event.DeleteEvent) bool { return false },
		})).
		Complete(r)
}

// wantsMore tells whether a bound claim asks for more than it has.
func wantsMore(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Status.Phase == corev1.ClaimBound && claim.Spec.Resources.Requests.Storage().Cmp(*claim.Status.Capacity.Storage()) > 0
}

func grew(before, after *corev1.PersistentVolumeClaim) bool {
	return after.Spec.Resources.Requests.Storage().Cmp(*before.Spec.Resources.Requests.Storage()) > 0 ||
		after.Status.Capacity.Storage().Cmp(*before.Status.Capacity.Storage()) > 0
}

// Reconcile runs one turn for one claim.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	claim, pv := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}
	if err := r.Client.Get(ctx, req.NamespacedName, claim); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !wantsMore(claim) {
		return ctrl.Result{}, nil
	}
	if err := r.Client.Get(ctx, types.NamespacedName{Name: claim.Spec.VolumeName}, pv); err != nil {
		return ctrl.Result{}, fmt.Errorf("get volume of claim %s: %w", req, err)
	}
	if pv.Spec.ClaimRef == nil || pv.Spec.ClaimRef.UID != claim.UID {
		return ctrl.Result{}, fmt.Errorf("volume %s is not bound to claim %s", pv.Name, req)
	}
	r.Events.Eventf(claim, nil, corev1.EventTypeNormal, "ExternalExpanding", "Expand", "waiting for an external controller to expand this PVC")
	return ctrl.Result{}, nil
}
