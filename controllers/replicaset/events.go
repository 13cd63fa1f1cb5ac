package replicaset

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skiffcluster/skiff/controllers/ownership"
)

// podEvents starts a turn for the owner of a pod that changed in a way that
// counts, or for everyone who may adopt it.
func (e *Engine[T]) podEvents() handler.EventHandler {
	return ownership.Handler[*corev1.Pod]{Owner: e.Kind.GroupVersionKind, Same: countsSame, Adopters: e.adopters}
}

func (e *Engine[T]) adopters(ctx context.Context, pod *corev1.Pod) []ctrl.Request {
	list := e.Kind.NewList()
	if err := e.Client.List(ctx, list, client.InNamespace(pod.Namespace), client.UnsafeDisableDeepCopy); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot look for an owner of an orphan", "Pod", klog.KObj(pod))
		return nil
	}
	var requests []ctrl.Request
	for _, object := range e.Kind.Items(list) {
		if matches(e.Kind.View(object), pod) {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(object)})
		}
	}
	return requests
}

// countsSame tells whether two states of a pod are the same to its set, so that
// being bound, given an address or probed costs no turn.
func countsSame(a, b *corev1.Pod) bool {
	if a.ResourceVersion == b.ResourceVersion {
		return true // a periodic resync
	}
	readyA, readyB := readyCondition(a), readyCondition(b)
	return a.UID == b.UID &&
		hasEnded(a) == hasEnded(b) &&
		(a.DeletionTimestamp == nil) == (b.DeletionTimestamp == nil) &&
		readyA.Status == readyB.Status &&
		readyA.LastTransitionTime.Equal(&readyB.LastTransitionTime) &&
		apiequality.Semantic.DeepEqual(a.Labels, b.Labels) &&
		apiequality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences)
}

// readyCondition returns a pod's Ready condition, or an empty one.
func readyCondition(pod *corev1.Pod) corev1.PodCondition {
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition
		}
	}
	return corev1.PodCondition{}
}
