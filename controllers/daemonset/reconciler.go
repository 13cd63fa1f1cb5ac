package daemonset

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/flowcontrol"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/history"
	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// +kubebuilder:rbac:groups=apps,resources=daemonsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=daemonsets/status,verbs=update
// +kubebuilder:rbac:groups=apps,resources=daemonsets/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;delete;patch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;delete;patch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler keeps one pod of each DaemonSet on every node that it is for.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	live    client.Reader        // the server itself, not the cache
	own     *consistency.Tracker // writes of status, whose events start no turn
	pods    podctl.Control
	history history.Keeper

	// failed slows down the replacement of pods that fail again and again.
	failed *flowcontrol.Backoff
}

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// A failed pod is replaced after 1s, and after twice as long each time up to
// 15min. The numbers are upstream's.
const (
	firstDelay   = time.Second
	longestDelay = 15 * time.Minute
)

// SetupWithManager adds the controller to mgr: changes of a DaemonSet's spec
// and of its pods start a turn, and changes of a node's labels and taints one
// for every DaemonSet.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	ctx := context.Background() // nothing below outlives this call
	for _, obj := range []client.Object{&corev1.Pod{}, &appsv1.ControllerRevision{}} {
		if err := ownership.Index(ctx, mgr, obj); err != nil {
			return err
		}
	}
	pods, err := podctl.Track(ctx, mgr, &corev1.Pod{})
	if err != nil {
		return err
	}
	revisions, err := podctl.Track(ctx, mgr, &appsv1.ControllerRevision{})
	if err != nil {
		return err
	}
	if r.own, err = podctl.Track(ctx, mgr, &appsv1.DaemonSet{}); err != nil {
		return err
	}
	r.live = mgr.GetAPIReader()
	r.pods = podctl.Control{Client: r.Client, Events: r.Events, Writes: pods}
	r.history = history.Keeper{Client: r.Client, Live: r.live, Writes: revisions}
	r.failed = flowcontrol.NewBackOff(firstDelay, longestDelay)
	return turn.NewController(mgr).
		Named("daemonset-controller").
		For(&appsv1.DaemonSet{}, builder.WithPredicates(podctl.ByOthers(r.own))).
		Owns(&appsv1.ControllerRevision{}).
		Watches(&corev1.Pod{}, podctl.Handler(kind, r.selectors)).
		Watches(&corev1.Node{}, handler.EnqueueRequestsFromMapFunc(r.everySet), builder.WithPredicates(placeChanged)).
		Complete(r)
}

// placeChanged lets pass what may make a node fit for other DaemonSets.
var placeChanged = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, wasNode := e.ObjectOld.(*corev1.Node)
	after, isNode := e.ObjectNew.(*corev1.Node)
	return wasNode && isNode && (!apiequality.Semantic.DeepEqual(before.Labels, after.Labels) ||
		!apiequality.Semantic.DeepEqual(before.Spec.Taints, after.Spec.Taints))
}}

func (r *Reconciler) everySet(ctx context.Context, _ client.Object) []ctrl.Request {
	var list appsv1.DaemonSetList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot list DaemonSets")
		return nil
	}
	requests := make([]ctrl.Request, 0, len(list.Items))
	for i := range list.Items {
		requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])})
	}
	return requests
}

func (r *Reconciler) selectors(ctx context.Context, namespace string) (map[client.ObjectKey]*metav1.LabelSelector, error) {
	var list appsv1.DaemonSetList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list daemon sets in %s: %w", namespace, err)
	}
	selectors := map[client.ObjectKey]*metav1.LabelSelector{}
	for i := range list.Items {
		selectors[client.ObjectKeyFromObject(&list.Items[i])] = list.Items[i].Spec.Selector
	}
	return selectors, nil
}

// scope is what one turn has read and decided.
type scope struct {
	key client.ObjectKey
	ds  *appsv1.DaemonSet

	revisions []*appsv1.ControllerRevision
	current   *appsv1.ControllerRevision // of the present template
	view      *view                      // nil: not enough is known for a status
	collided  bool
}

func (s *scope) ref() metav1.OwnerReference { return *metav1.NewControllerRef(s.ds, kind) }

func (s *scope) owner() history.Owner {
	return history.Owner{
		Object: s.ds, Ref: s.ref(), Selector: s.ds.Spec.Selector, Template: &s.ds.Spec.Template,
		HashLabel: hashLabel, Collisions: ptr.Deref(s.ds.Status.CollisionCount, 0),
	}
}

// Reconcile runs one turn for one DaemonSet.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := errors.Join(r.own.Wait(ctx, req.NamespacedName), r.pods.Writes.Wait(ctx, req.NamespacedName), r.history.Writes.Wait(ctx, req.NamespacedName)); err != nil {
		return ctrl.Result{}, err
	}
	ds := &appsv1.DaemonSet{}
	if err := r.Client.Get(ctx, req.NamespacedName, ds); err != nil {
		if apierrors.IsNotFound(err) {
			r.own.Forget(req.NamespacedName)
			r.pods.Writes.Forget(req.NamespacedName)
			r.history.Writes.Forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if ds.DeletionTimestamp != nil {
		return ctrl.Result{}, nil // the garbage collector sees to its pods
	}
	s := &scope{key: req.NamespacedName, ds: ds}
	result, err := turn.InOrder(ctx, s, r.findRevision, r.listPods, r.managePods, r.trimHistory)
	next, statusErr := r.writeStatus(ctx, s)
	return turn.Sooner(result, next.RequeueAfter), errors.Join(err, statusErr)
}

// findRevision makes sure that the present template has a revision.
func (r *Reconciler) findRevision(ctx context.Context, s *scope) (ctrl.Result, error) {
	var err error
	if s.revisions, err = r.history.List(ctx, s.owner()); err != nil {
		return ctrl.Result{}, err
	}
	if s.current, err = r.history.Current(ctx, s.owner(), s.revisions); err != nil {
		return ctrl.Result{}, err
	}
	if s.current == nil {
		s.collided = true
		s.ds.Status.CollisionCount = ptr.To(ptr.Deref(s.ds.Status.CollisionCount, 0) + 1)
	}
	return ctrl.Result{}, nil
}

// listPods finds the DaemonSet's pods and looks at all nodes.
func (r *Reconciler) listPods(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.collided {
		return ctrl.Result{}, nil
	}
	pods, err := r.pods.Claim(ctx, r.live, s.ds, s.ref(), s.ds.Spec.Selector, nil)
	if err != nil {
		return ctrl.Result{}, err
	}
	var list corev1.NodeList
	if err := r.Client.List(ctx, &list, client.UnsafeDisableDeepCopy); err != nil {
		return ctrl.Result{}, fmt.Errorf("list nodes: %w", err)
	}
	nodes := make([]*corev1.Node, 0, len(list.Items))
	for i := range list.Items {
		nodes = append(nodes, &list.Items[i])
	}
	s.view = newView(s.ds, nodes, pods, s.current.Labels[hashLabel], r.Clock.Now())
	return ctrl.Result{}, nil
}

// managePods creates and deletes pods: first those that are missing or wrong,
// and when there are none the next of a rolling update.
func (r *Reconciler) managePods(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.view == nil {
		return ctrl.Result{}, nil
	}
	plan := planPods(s.view)
	if plan.isEmpty() {
		plan = planRolling(s.view)
	}
	remove, wait := r.withoutBackedOff(s, plan)
	err := r.pods.Delete(ctx, s.ds, remove)
	create := make([]*corev1.Pod, 0, len(plan.create))
	for _, node := range plan.create {
		create = append(create, newPod(s.ds, s.ref(), node, s.view.hash))
	}
	_, createErr := r.pods.Create(ctx, s.ds, create)
	return ctrl.Result{RequeueAfter: wait}, errors.Join(err, createErr)
}

// withoutBackedOff returns the pods to delete now: failed ones only when their
// node has waited for long enough. It tells of those that have ended.
func (r *Reconciler) withoutBackedOff(s *scope, plan podsPlan) (remove []*corev1.Pod, wait time.Duration) {
	r.failed.GC()
	ended := map[*corev1.Pod]bool{}
	for _, pod := range plan.ended {
		ended[pod] = true
	}
	for _, pod := range plan.remove {
		node := nodeOf(pod)
		switch {
		case !ended[pod]:
		case pod.Status.Phase == corev1.PodSucceeded:
			r.Events.Eventf(s.ds, pod, corev1.EventTypeNormal, "SucceededDaemonPod", "Delete",
				"Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, node)
		default:
			key := fmt.Sprintf("%s/%d/%s", s.ds.UID, s.ds.Status.ObservedGeneration, node)
			now := r.failed.Clock.Now()
			if r.failed.IsInBackOffSinceUpdate(key, now) {
				if left := r.failed.Get(key); wait == 0 || left < wait {
					wait = left
				}
				continue
			}
			r.failed.Next(key, now)
			r.Events.Eventf(s.ds, pod, corev1.EventTypeWarning, "FailedDaemonPod", "Delete",
				"Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, node)
		}
		remove = append(remove, pod)
	}
	return remove, wait
}

// trimHistory deletes old revisions that no pod has any more.
func (r *Reconciler) trimHistory(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.view == nil {
		return ctrl.Result{}, nil
	}
	used := map[string]bool{s.view.hash: true}
	for _, pods := range s.view.byNode {
		for _, pod := range pods {
			used[pod.Labels[hashLabel]] = true
		}
	}
	inUse := func(revision *appsv1.ControllerRevision) bool { return used[revision.Labels[hashLabel]] }
	return ctrl.Result{}, r.history.Trim(ctx, s.owner(), s.revisions, inUse, ptr.Deref(s.ds.Spec.RevisionHistoryLimit, 10))
}

// writeStatus reports what the turn saw, if that differs from what is reported,
// and asks for another turn when the next pod becomes available.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.view == nil && !s.collided {
		return ctrl.Result{}, nil
	}
	var result ctrl.Result
	changed := s.ds.DeepCopy()
	if s.view != nil {
		changed.Status, result.RequeueAfter = planStatus(s.view)
	}
	if !s.collided && apiequality.Semantic.DeepEqual(changed.Status, s.ds.Status) {
		return result, nil
	}
	if s.collided {
		result.RequeueAfter = turn.Conflict // the cache has the new count by then
	}
	err := r.Client.Status().Update(ctx, changed)
	if err == nil {
		r.own.Wrote(s.key, changed)
	}
	return turn.Written(ctx, result, err)
}
