package volumeprotection

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
)

// ClaimFinalizer and VolumeFinalizer are what holds claims and volumes.
const (
	ClaimFinalizer  = "kubernetes.io/pvc-protection"
	VolumeFinalizer = "kubernetes.io/pv-protection"
)

// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims;persistentvolumes,verbs=get;list;watch;update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch

// Claims protects claims.
type Claims struct {
	Client client.Client

	live client.Reader // the server itself, not the cache
}

// SetupWithManager adds the controller to mgr: only a pod that goes may free a
// claim.
func (r *Claims) SetupWithManager(mgr ctrl.Manager) error {
	r.live = mgr.GetAPIReader()
	return turn.NewController(mgr).
		Named("persistentvolumeclaim-protection-controller").
		For(&corev1.PersistentVolumeClaim{}).
		Watches(&corev1.Pod{}, handler.Funcs{DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			if pod, ok := e.Object.(*corev1.Pod); ok {
				for _, name := range podctl.ClaimNames(pod) {
					q.Add(ctrl.Request{NamespacedName: client.ObjectKey{Namespace: pod.Namespace, Name: name}})
				}
			}
		}}).
		Complete(r)
}

// Reconcile runs one turn for one claim.
func (r *Claims) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	claim := &corev1.PersistentVolumeClaim{}
	if err := r.Client.Get(ctx, req.NamespacedName, claim); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if claim.DeletionTimestamp != nil && controllerutil.ContainsFinalizer(claim, ClaimFinalizer) {
		// The server is asked last: the cache may not know a new pod.
		for _, reader := range []client.Reader{r.Client, r.live} {
			used, err := isUsed(ctx, reader, claim)
			if err != nil || used {
				return ctrl.Result{}, err
			}
		}
	}
	return ctrl.Result{}, keepFinalizer(ctx, r.Client, claim, ClaimFinalizer, claim.DeletionTimestamp == nil)
}

// keepFinalizer adds or removes a finalizer where that is not done.
func keepFinalizer(ctx context.Context, c client.Client, object client.Object, finalizer string, want bool) error {
	if controllerutil.ContainsFinalizer(object, finalizer) == want {
		return nil
	}
	if want {
		controllerutil.AddFinalizer(object, finalizer)
	} else {
		controllerutil.RemoveFinalizer(object, finalizer)
	}
	err := c.Update(ctx, object)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // an event of what changed starts the next turn
	}
	if err != nil {
		return fmt.Errorf("change finalizers of %s: %w", klog.KObj(object), err)
	}
	return nil
}

// isUsed tells whether a pod that has a node names a claim. One without will
// not be started with a claim that is being deleted.
func isUsed(ctx context.Context, reader client.Reader, claim *corev1.PersistentVolumeClaim) (bool, error) {
	var list corev1.PodList
	if err := reader.List(ctx, &list, client.InNamespace(claim.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list pods that may use claim %s: %w", klog.KObj(claim), err)
	}
	for i := range list.Items {
		if list.Items[i].Spec.NodeName != "" && podctl.UsesClaim(&list.Items[i], claim) {
			return true, nil
		}
	}
	return false, nil
}
