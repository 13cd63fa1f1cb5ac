package endpointslice

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	endpointsliceutil "k8s.io/endpointslice/util"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// PodHandler starts a turn for the services that select a pod, when the pod
// comes, goes, or changes in something that endpoints show. A pod whose labels
// change concerns the services of both its old and its new labels.
func PodHandler(services client.Reader) handler.EventHandler {
	add := func(ctx context.Context, q queue, namespace string, podLabels ...labels.Set) {
		list := &corev1.ServiceList{}
		if err := services.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to list services", "namespace", namespace)
			return
		}
		for _, key := range selecting(list.Items, podLabels...) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q queue) {
			add(ctx, q, e.Object.GetNamespace(), e.Object.GetLabels())
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) {
			add(ctx, q, e.Object.GetNamespace(), e.Object.GetLabels())
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) {
			change := endpointsliceutil.GetPodUpdateProjectionKey(e.ObjectOld, e.ObjectNew)
			if change == nil {
				return
			}
			if change.OldLabels == nil {
				add(ctx, q, change.Namespace, change.Labels)
				return
			}
			add(ctx, q, change.Namespace, change.Labels, change.OldLabels)
		},
	}
}

// selecting returns the services whose selector matches one of the label sets.
func selecting(services []corev1.Service, podLabels ...labels.Set) []types.NamespacedName {
	var keys []types.NamespacedName
	for i := range services {
		if services[i].Spec.Selector == nil {
			continue // its endpoints are made by hand
		}
		selector := labels.Set(services[i].Spec.Selector).AsSelectorPreValidated()
		for _, set := range podLabels {
			if selector.Matches(set) {
				keys = append(keys, client.ObjectKeyFromObject(&services[i]))
				break
			}
		}
	}
	return keys
}

// sliceHandler starts a turn when somebody else touched a slice of ours. The
// tracker knows which changes are our own echoes.
func sliceHandler(tracker *endpointsliceutil.EndpointSliceTracker) handler.EventHandler {
	add := func(q queue, slice *discoveryv1.EndpointSlice) {
		if name := slice.Labels[discoveryv1.LabelServiceName]; name != "" {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: slice.Namespace, Name: name}})
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			if slice, ok := e.Object.(*discoveryv1.EndpointSlice); ok && isOurs(slice) && tracker.ShouldSync(slice) {
				add(q, slice)
			}
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			before, ok1 := e.ObjectOld.(*discoveryv1.EndpointSlice)
			after, ok2 := e.ObjectNew.(*discoveryv1.EndpointSlice)
			if !ok1 || !ok2 {
				return
			}
			switch {
			case before.Labels[discoveryv1.LabelServiceName] != after.Labels[discoveryv1.LabelServiceName]:
				add(q, before)
				add(q, after)
			case isOurs(before) != isOurs(after), isOurs(after) && tracker.ShouldSync(after):
				add(q, after)
			}
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
			slice, ok := e.Object.(*discoveryv1.EndpointSlice)
			if !ok || !isOurs(slice) || !tracker.Has(slice) {
				return
			}
			if !tracker.HandleDeletion(slice) {
				add(q, slice)
			}
		},
	}
}

func isOurs(slice *discoveryv1.EndpointSlice) bool {
	return slice.Labels[discoveryv1.LabelManagedBy] == ManagedBy
}
