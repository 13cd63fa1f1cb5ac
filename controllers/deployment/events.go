package deployment

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

// sameVersion is true for a periodic resync only: whatever changes in a set
// may matter.
func sameVersion(before, after *appsv1.ReplicaSet) bool {
	return before.ResourceVersion == after.ResourceVersion
}

func (r *Reconciler) adopters(ctx context.Context, set *appsv1.ReplicaSet) []ctrl.Request {
	var list appsv1.DeploymentList
	if err := r.Client.List(ctx, &list, client.InNamespace(set.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot look for an owner of an orphan", "ReplicaSet", klog.KObj(set))
		return nil
	}
	var requests []ctrl.Request
	for i := range list.Items {
		if matches(&list.Items[i], set) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
		}
	}
	return requests
}

// podEnds starts a turn for a Deployment of type Recreate when a pod is gone,
// since that may be what it waits for. Its set's status counts active pods
// only, and tells nothing of one that was terminating.
func (r *Reconciler) podEnds() handler.EventHandler {
	return handler.Funcs{DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
		ref := metav1.GetControllerOfNoCopy(e.Object)
		if ref == nil || ref.Kind != "ReplicaSet" {
			return
		}
		var set appsv1.ReplicaSet
		key := client.ObjectKey{Namespace: e.Object.GetNamespace(), Name: ref.Name}
		if err := r.Client.Get(ctx, key, &set, client.UnsafeDisableDeepCopy); err != nil {
			return // a set that is gone has told of its end itself
		}
		owner := metav1.GetControllerOfNoCopy(&set)
		if owner == nil || owner.Kind != kind.Kind {
			return
		}
		key.Name = owner.Name
		var d appsv1.Deployment
		if err := r.Client.Get(ctx, key, &d, client.UnsafeDisableDeepCopy); err == nil && !isRolling(&d) {
			q.Add(ctrl.Request{NamespacedName: key})
		}
	}}
}
