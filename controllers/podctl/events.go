package podctl

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// ByOthers lets a controller's own writes of status, which own knows, pass by.
// What others write to a status starts a turn, which mends it.
func ByOthers(own *consistency.Tracker) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() ||
			e.ObjectOld.GetUID() != e.ObjectNew.GetUID() ||
			!e.ObjectOld.GetDeletionTimestamp().Equal(e.ObjectNew.GetDeletionTimestamp()) ||
			!own.Own(client.ObjectKeyFromObject(e.ObjectNew), e.ObjectNew)
	}}
}

// Handler starts a turn for the owner of a pod that changed in any way, or for
// everyone of the owners' kind whose selector matches an orphan.
// selectors lists the owners in a namespace with their selectors.
func Handler(owner schema.GroupVersionKind, selectors func(ctx context.Context, namespace string) (map[client.ObjectKey]*metav1.LabelSelector, error)) handler.EventHandler {
	return ownership.Handler[*corev1.Pod]{
		Owner: owner,
		Same:  func(before, after *corev1.Pod) bool { return before.ResourceVersion == after.ResourceVersion },
		Adopters: func(ctx context.Context, pod *corev1.Pod) []ctrl.Request {
			owners, err := selectors(ctx, pod.Namespace)
			if err != nil {
				klog.FromContext(ctx).Error(err, "Cannot look for an owner of an orphan", "Pod", klog.KObj(pod))
				return nil
			}
			var requests []ctrl.Request
			for key, labelSelector := range owners {
				selector, err := metav1.LabelSelectorAsSelector(labelSelector)
				if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
					requests = append(requests, ctrl.Request{NamespacedName: key})
				}
			}
			return requests
		},
	}
}
