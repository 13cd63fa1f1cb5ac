package endpointslice

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// topologyChanged passes node events that matter to how endpoints are spread
// over zones: readiness, zone, processors, exclusion.
var topologyChanged = predicate.Funcs{
	UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(*corev1.Node)
		after, ok2 := e.ObjectNew.(*corev1.Node)
		return ok1 && ok2 && share(before) != share(after)
	},
}

// share is all that zone hints depend on in a node.
func share(node *corev1.Node) string {
	ready := corev1.ConditionUnknown
	for _, condition := range node.Status.Conditions {
		if condition.Type == corev1.NodeReady {
			ready = condition.Status
		}
	}
	_, excluded := node.Labels["node-role.kubernetes.io/control-plane"]
	_, excludedOld := node.Labels["node-role.kubernetes.io/master"]
	return fmt.Sprint(ready, node.Labels[corev1.LabelTopologyZone], node.Status.Allocatable.Cpu().MilliValue(), excluded || excludedOld)
}

// nodeHandler tells the library about the zones and starts a turn for the
// services whose hints no longer fit.
func (r *Reconciler) nodeHandler() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, _ client.Object) []reconcile.Request {
		nodes, err := nodeLister{r.Client}.List(labels.Everything())
		if err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to list nodes")
			return nil
		}
		r.topology.SetNodes(klog.FromContext(ctx), nodes)
		var requests []reconcile.Request
		for _, key := range r.topology.GetOverloadedServices() {
			namespace, name, _ := strings.Cut(key, "/")
			requests = append(requests, reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}})
		}
		return requests
	})
}

// nodeLister shows the cached nodes to the library in the form that it wants.
// The library gives no context.
type nodeLister struct{ reader client.Reader }

var _ corelisters.NodeLister = nodeLister{}

func (l nodeLister) Get(name string) (*corev1.Node, error) {
	node := &corev1.Node{}
	err := l.reader.Get(context.Background(), client.ObjectKey{Name: name}, node, client.UnsafeDisableDeepCopy)
	return node, err
}

func (l nodeLister) List(selector labels.Selector) ([]*corev1.Node, error) {
	list := &corev1.NodeList{}
	if err := l.reader.List(context.Background(), list, client.MatchingLabelsSelector{Selector: selector}, client.UnsafeDisableDeepCopy); err != nil {
		return nil, err
	}
	nodes := make([]*corev1.Node, 0, len(list.Items))
	for i := range list.Items {
		nodes = append(nodes, &list.Items[i])
	}
	return nodes, nil
}

// recorder lets the library, which knows the older interface, report events by
// the newer.
type recorder struct{ events events.EventRecorder }

var _ record.EventRecorder = recorder{}

func (r recorder) Event(object runtime.Object, kind, reason, message string) {
	r.events.Eventf(object, nil, kind, reason, "UpdateEndpointSlices", "%s", message)
}

func (r recorder) Eventf(object runtime.Object, kind, reason, format string, args ...any) {
	r.events.Eventf(object, nil, kind, reason, "UpdateEndpointSlices", format, args...)
}

// AnnotatedEventf leaves the annotations out: events.k8s.io has none for them,
// and the library writes none.
func (r recorder) AnnotatedEventf(object runtime.Object, _ map[string]string, kind, reason, format string, args ...any) {
	r.Eventf(object, kind, reason, format, args...)
}
