package ownership

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
)

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// Handler starts a turn for the owner of a child that changed, for the owner
// it had before, and for everyone who may adopt an orphan.
type Handler[T client.Object] struct {
	// Owner is the owners' kind.
	Owner schema.GroupVersionKind

	// Same tells whether two states of a child are the same to its owner.
	Same func(before, after T) bool

	// Adopters names the objects whose selector matches an orphan.
	Adopters func(ctx context.Context, orphan T) []ctrl.Request
}

var _ handler.EventHandler = Handler[client.Object]{}

// Create implements handler.EventHandler.
func (h Handler[T]) Create(ctx context.Context, e event.CreateEvent, q queue) {
	h.enqueue(ctx, q, e.Object.(T))
}

// Update implements handler.EventHandler.
func (h Handler[T]) Update(ctx context.Context, e event.UpdateEvent, q queue) {
	before, after := e.ObjectOld.(T), e.ObjectNew.(T)
	if h.Same(before, after) {
		return
	}
	h.enqueue(ctx, q, after)
	was, is := metav1.GetControllerOfNoCopy(before), metav1.GetControllerOfNoCopy(after)
	if was != nil && (is == nil || was.UID != is.UID) {
		h.enqueueOwner(q, before.GetNamespace(), was)
	}
}

// Delete implements handler.EventHandler.
func (h Handler[T]) Delete(_ context.Context, e event.DeleteEvent, q queue) {
	if ref := metav1.GetControllerOfNoCopy(e.Object); ref != nil {
		h.enqueueOwner(q, e.Object.GetNamespace(), ref)
	}
}

// Generic implements handler.EventHandler.
func (h Handler[T]) Generic(ctx context.Context, e event.GenericEvent, q queue) {
	h.enqueue(ctx, q, e.Object.(T))
}

func (h Handler[T]) enqueue(ctx context.Context, q queue, child T) {
	if ref := metav1.GetControllerOfNoCopy(child); ref != nil {
		h.enqueueOwner(q, child.GetNamespace(), ref)
		return
	}
	if child.GetDeletionTimestamp() != nil {
		return
	}
	for _, request := range h.Adopters(ctx, child) {
		q.Add(request)
	}
}

func (h Handler[T]) enqueueOwner(q queue, namespace string, ref *metav1.OwnerReference) {
	if ref.Kind == h.Owner.Kind && ref.APIVersion == h.Owner.GroupVersion().String() {
		q.Add(ctrl.Request{NamespacedName: client.ObjectKey{Namespace: namespace, Name: ref.Name}})
	}
}
