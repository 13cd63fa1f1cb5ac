package node

import (
	"context"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// podsByNode is the index of cached pods by the node they are bound to.
const podsByNode = "node.controllers.skiff/spec.nodeName"

// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch

// Evictor deletes pods from nodes with NoExecute taints after the time that each
// tolerates, and marks pods of silent nodes as not ready.
type Evictor struct {
	Client client.Client
	Clock  clock.PassiveClock
	// Events are of EvictionName; NodeEvents, on pods of silent nodes, of
	// node-controller.
	Events, NodeEvents events.EventRecorder
	// Concurrency is the number of pods worked on at a time. Zero: 8.
	Concurrency int

	mu      sync.Mutex
	pending map[types.NamespacedName]pending
}

// SetupWithManager starts a turn for a pod that is bound or whose tolerations
// change, and for all pods of a node that falls silent or whose NoExecute taints
// change.
func (r *Evictor) SetupWithManager(mgr ctrl.Manager) error {
	if r.Clock == nil {
		r.Clock = clock.RealClock{}
	}
	if r.Events == nil {
		r.Events = mgr.GetEventRecorder(EvictionName)
	}
	if r.NodeEvents == nil {
		r.NodeEvents = mgr.GetEventRecorder(eventSource)
	}
	if r.Concurrency == 0 {
		r.Concurrency = 8
	}
	r.pending = map[types.NamespacedName]pending{}
	err := mgr.GetFieldIndexer().IndexField(context.Background(), &corev1.Pod{}, podsByNode, func(object client.Object) []string {
		if pod, ok := object.(*corev1.Pod); ok && pod.Spec.NodeName != "" {
			return []string{pod.Spec.NodeName}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("index pods by node: %w", err)
	}
	bound := predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool {
			pod, ok := e.Object.(*corev1.Pod)
			return ok && pod.Spec.NodeName != ""
		},
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.Pod)
			after, ok2 := e.ObjectNew.(*corev1.Pod)
			return ok1 && ok2 && after.Spec.NodeName != "" &&
				(before.Spec.NodeName != after.Spec.NodeName || before.UID != after.UID ||
					!apiequality.Semantic.DeepEqual(before.Spec.Tolerations, after.Spec.Tolerations))
		},
	}
	changed := predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			before, ok1 := e.ObjectOld.(*corev1.Node)
			after, ok2 := e.ObjectNew.(*corev1.Node)
			return ok1 && ok2 && drivesPods(before, after)
		},
		// The pods of a node that is new come as events of their own; those of
		// one that is gone are the pod garbage collector's.
		CreateFunc: func(event.CreateEvent) bool { return false },
	}
	return turn.NewController(mgr).
		Named(EvictionName).
		For(&corev1.Pod{}, builder.WithPredicates(bound)).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.podsOf), builder.WithPredicates(changed)).
		WithOptions(turn.WithQueue(controller.Options{MaxConcurrentReconciles: r.Concurrency})).
		Complete(r)
}

// drivesPods tells whether a node's change matters to its pods.
func drivesPods(before, after *corev1.Node) bool {
	if readiness(before) != readiness(after) && readiness(after) == corev1.ConditionUnknown {
		return true
	}
	taintsBefore, taintsAfter := noExecute(before.Spec.Taints), noExecute(after.Spec.Taints)
	return !slices.EqualFunc(taintsBefore, taintsAfter, func(a, b corev1.Taint) bool { return identity(a) == identity(b) })
}

func (r *Evictor) podsOf(ctx context.Context, node client.Object) []reconcile.Request {
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods, client.MatchingFields{podsByNode: node.GetName()}, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list the pods of a node", "Node", klog.KObj(node))
		return nil
	}
	requests := make([]reconcile.Request, 0, len(pods.Items))
	for i := range pods.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&pods.Items[i])})
	}
	return requests
}

// Reconcile does what one pod's node asks for.
func (r *Evictor) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pod := &corev1.Pod{}
	if err := r.Client.Get(ctx, req.NamespacedName, pod, client.UnsafeDisableDeepCopy); err != nil {
		if apierrors.IsNotFound(err) {
			r.cancel(req.NamespacedName)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, err
	}
	node := &corev1.Node{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: pod.Spec.NodeName}, node, client.UnsafeDisableDeepCopy)
	if pod.Spec.NodeName == "" || apierrors.IsNotFound(err) {
		r.cancel(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	if err := r.markNotReady(ctx, pod, node); err != nil {
		return ctrl.Result{}, err
	}
	return r.evict(ctx, pod, node)
}

// markNotReady takes the pod out of its services when its node is silent: the
// agent, which would say it otherwise, does not speak.
func (r *Evictor) markNotReady(ctx context.Context, pod *corev1.Pod, node *corev1.Node) error {
	if readiness(node) != corev1.ConditionUnknown {
		return nil
	}
	i := slices.IndexFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady })
	if i < 0 || pod.Status.Conditions[i].Status != corev1.ConditionTrue {
		return nil
	}
	condition := pod.Status.Conditions[i]
	condition.Status = corev1.ConditionFalse
	condition.LastTransitionTime = metav1.NewTime(r.Clock.Now())
	err := r.patchCondition(ctx, pod, condition)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("mark pod %s as not ready: %w", klog.KObj(pod), err)
	}
	r.NodeEvents.Eventf(pod, nil, corev1.EventTypeWarning, "NodeNotReady", "MonitorNode", "Node is not ready")
	return nil
}

// evict deletes the pod when its time under the node's taints is over, or waits.
func (r *Evictor) evict(ctx context.Context, pod *corev1.Pod, node *corev1.Node) (ctrl.Result, error) {
	key := client.ObjectKeyFromObject(pod)
	taints := noExecute(node.Spec.Taints)
	if len(taints) == 0 {
		r.cancel(key)
		return ctrl.Result{}, nil
	}
	now := r.Clock.Now()
	r.mu.Lock()
	before, waits := r.pending[key]
	r.mu.Unlock()
	if waits && before.uid != pod.UID {
		before = pending{}
	}
	running := before.running.tick(taints, now)
	at, never := evictAt(pod.Spec.Tolerations, running)
	if never {
		r.cancel(key)
		return ctrl.Result{}, nil
	}
	if pod.DeletionTimestamp != nil {
		r.drop(key) // it goes already
		return ctrl.Result{}, nil
	}
	if wait := at.Sub(now); wait > 0 {
		r.mu.Lock()
		r.pending[key] = pending{uid: pod.UID, running: running}
		r.mu.Unlock()
		return ctrl.Result{RequeueAfter: wait}, nil
	}
	if err := r.remove(ctx, pod); err != nil {
		return ctrl.Result{}, err
	}
	r.drop(key)
	return ctrl.Result{}, nil
}

// remove deletes the pod and says why, on the pod and by an event.
func (r *Evictor) remove(ctx context.Context, pod *corev1.Pod) error {
	key := client.ObjectKeyFromObject(pod)
	r.tell(key, "Marking for deletion Pod %s", key)
	err := r.patchCondition(ctx, pod, corev1.PodCondition{
		Type:               corev1.DisruptionTarget,
		Status:             corev1.ConditionTrue,
		Reason:             "DeletionByTaintManager",
		Message:            "Taint manager: deleting due to NoExecute taint",
		LastTransitionTime: metav1.NewTime(r.Clock.Now()),
	})
	if err == nil {
		err = r.Client.Delete(ctx, pod.DeepCopy(), client.Preconditions{UID: &pod.UID})
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evict pod %s: %w", klog.KObj(pod), err)
	}
	ctrl.LoggerFrom(ctx).Info("Evicted pod", "Node", klog.KRef("", pod.Spec.NodeName))
	return nil
}

// patchCondition sets one of the pod's conditions; the UID in the patch keeps it
// from another pod of the same name.
func (r *Evictor) patchCondition(ctx context.Context, pod *corev1.Pod, condition corev1.PodCondition) error {
	after := pod.DeepCopy()
	i := slices.IndexFunc(after.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == condition.Type })
	if i < 0 {
		after.Status.Conditions = append(after.Status.Conditions, condition)
	} else {
		if after.Status.Conditions[i].Status == condition.Status {
			condition.LastTransitionTime = after.Status.Conditions[i].LastTransitionTime
		}
		after.Status.Conditions[i] = condition
	}
	before := pod.DeepCopy()
	before.UID = ""
	return r.Client.Status().Patch(ctx, after, client.StrategicMergeFrom(before))
}

// cancel ends a wait and says so.
func (r *Evictor) cancel(key types.NamespacedName) {
	if r.drop(key) {
		r.tell(key, "Cancelling deletion of Pod %s", key)
	}
}

func (r *Evictor) drop(key types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, waits := r.pending[key]
	delete(r.pending, key)
	return waits
}

func (r *Evictor) tell(pod types.NamespacedName, format string, args ...any) {
	regarding := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name}
	r.Events.Eventf(regarding, nil, corev1.EventTypeNormal, "TaintManagerEviction", "EvictPod", format, args...)
}
