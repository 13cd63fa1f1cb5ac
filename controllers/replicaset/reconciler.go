package replicaset

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=replicasets/status,verbs=update
// +kubebuilder:rbac:groups=apps,resources=replicasets/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;delete;patch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler keeps each ReplicaSet's pods at spec.replicas.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder
}

// SetupWithManager adds the controller to mgr: changes of a ReplicaSet's spec
// and of its pods start a turn.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return (&Engine[*appsv1.ReplicaSet]{Kind: replicaSetKind(), Client: r.Client, Clock: r.Clock, Events: r.Events}).SetupWithManager(mgr)
}

// Engine keeps the pods of each object of one kind at its number of replicas.
type Engine[T client.Object] struct {
	Kind   Kind[T]
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	live     client.Reader        // the server itself, not the cache
	own      *consistency.Tracker // writes of the objects' status
	writes   *consistency.Tracker // of pods, by the object they belong to
	children ownership.Children[*corev1.Pod]
}

// SetupWithManager adds the engine's controller to mgr.
func (e *Engine[T]) SetupWithManager(mgr ctrl.Manager) error {
	ctx := context.Background() // nothing below outlives this call
	var err error
	if e.children, err = ownership.ChildrenOf(ctx, mgr, &corev1.Pod{}); err != nil {
		return err
	}
	if err := ownership.Index(ctx, mgr, e.Kind.New()); err != nil {
		return err
	}
	if e.own, err = podctl.Track(ctx, mgr, e.Kind.New()); err != nil {
		return err
	}
	if e.writes, err = podctl.Track(ctx, mgr, &corev1.Pod{}); err != nil {
		return err
	}
	e.live = mgr.GetAPIReader()
	return turn.NewController(mgr).
		Named(e.Kind.Name).
		For(e.Kind.New(), builder.WithPredicates(podctl.ByOthers(e.own))).
		Watches(&corev1.Pod{}, e.podEvents()).
		Complete(reconcile.Func(e.Reconcile))
}

// scope is what one turn has read and decided.
type scope[T client.Object] struct {
	object T                  // as the cache has it, until the status is written
	set    *appsv1.ReplicaSet // object's view

	owned       []*corev1.Pod // all pods that belong to the set, the cache's own
	active      []*corev1.Pod // those that have neither ended nor are terminating
	terminating int32

	diff    int   // pods too many, negative: too few
	failure error // of creating or deleting pods, for the condition
}

// Reconcile runs one turn for one object.
func (e *Engine[T]) Reconcile(ctx context.Context, req ctrl.Request) (result ctrl.Result, err error) {
	if err := errors.Join(e.own.Wait(ctx, req.NamespacedName), e.writes.Wait(ctx, req.NamespacedName)); err != nil {
		return ctrl.Result{}, err
	}
	object := e.Kind.New()
	if err := e.Client.Get(ctx, req.NamespacedName, object); err != nil {
		if apierrors.IsNotFound(err) {
			e.own.Forget(req.NamespacedName)
			e.writes.Forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope[T]{object: object, set: e.Kind.View(object)}
	result, err = turn.InOrder(ctx, s, e.listPods, e.scale)
	if s.owned == nil {
		return result, err // nothing is known that a status could say
	}
	next, statusErr := e.writeStatus(ctx, s)
	return turn.Sooner(result, next.RequeueAfter), errors.Join(err, statusErr)
}

// listPods finds the set's pods, adopts those that should be and releases
// those that should not.
func (e *Engine[T]) listPods(ctx context.Context, s *scope[T]) (ctrl.Result, error) {
	selector, err := metav1.LabelSelectorAsSelector(s.set.Spec.Selector)
	if err != nil {
		// The server admits no such object, and trying again will not cure it.
		return ctrl.Result{}, reconcile.TerminalError(fmt.Errorf("read selector of %s: %w", klog.KObj(s.set), err))
	}
	owned, err := e.children.Of(s.set.Namespace, s.set.UID)
	if err != nil {
		return ctrl.Result{}, err
	}
	orphans, err := e.children.Orphans(s.set.Namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	claims := ownership.Plan(s.set, selector, owned, orphans)
	pods, err := e.claim(ctx, s, claims)
	if err != nil {
		return ctrl.Result{}, err
	}
	s.owned = pods
	s.active, s.terminating = sortOut(pods)
	return ctrl.Result{}, nil
}

// claim adopts and releases as planned and returns the pods that are the set's.
func (e *Engine[T]) claim(ctx context.Context, s *scope[T], claims ownership.Claims[*corev1.Pod]) ([]*corev1.Pod, error) {
	pods := append(make([]*corev1.Pod, 0, len(claims.Keep)+len(claims.Adopt)), claims.Keep...)
	key := client.ObjectKeyFromObject(s.object)
	for _, pod := range claims.Release {
		released, exists, err := ownership.Release(ctx, e.Client, pod, s.set.UID)
		if err != nil {
			return nil, err
		}
		if exists {
			e.writes.Wrote(key, released)
		}
	}
	adopt := claims.Adopt[:0:0]
	for _, pod := range claims.Adopt {
		if !hasEnded(pod) {
			adopt = append(adopt, pod)
		}
	}
	if len(adopt) == 0 {
		return pods, nil
	}
	if err := ownership.CheckOwner(ctx, e.live, s.object); err != nil {
		return nil, err
	}
	for _, pod := range adopt {
		adopted, exists, err := ownership.Adopt(ctx, e.Client, pod, e.ownerRef(s))
		if err != nil {
			return nil, err
		}
		if exists {
			e.writes.Wrote(key, adopted)
			pods = append(pods, adopted)
		}
	}
	return pods, nil
}

func (e *Engine[T]) ownerRef(s *scope[T]) metav1.OwnerReference {
	return *metav1.NewControllerRef(s.object, e.Kind.GroupVersionKind)
}

// sortOut returns the pods that count as replicas, and how many others are on
// their way out. Pods that have ended count as neither.
func sortOut(pods []*corev1.Pod) (active []*corev1.Pod, terminating int32) {
	active = make([]*corev1.Pod, 0, len(pods))
	for _, pod := range pods {
		switch {
		case hasEnded(pod):
		case pod.DeletionTimestamp != nil:
			terminating++
		default:
			active = append(active, pod)
		}
	}
	return active, terminating
}

func hasEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// matches tells whether a set's selector matches a pod's labels.
func matches(set *appsv1.ReplicaSet, pod *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels))
}
