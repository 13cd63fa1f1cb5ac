package statefulset

import (
	"context"
	"errors"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/skiffcluster/skiff/controllers/history"
	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch
// +kubebuilder:rbac:groups=apps,resources=statefulsets/status,verbs=update
// +kubebuilder:rbac:groups=apps,resources=statefulsets/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=controllerrevisions,verbs=get;list;watch;create;delete;patch
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;create;update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;delete;patch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler keeps the pods of each StatefulSet.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	live    client.Reader        // the server itself, not the cache
	own     *consistency.Tracker // writes of status, whose events start no turn
	pods    podctl.Control
	history history.Keeper
}

var kind = appsv1.SchemeGroupVersion.WithKind("StatefulSet")

// SetupWithManager adds the controller to mgr: changes of a StatefulSet's spec,
// of its pods and revisions, and the deletion of its claims start a turn.
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
	if r.own, err = podctl.Track(ctx, mgr, &appsv1.StatefulSet{}); err != nil {
		return err
	}
	r.live = mgr.GetAPIReader()
	r.pods = podctl.Control{Client: r.Client, Events: r.Events, Writes: pods}
	r.history = history.Keeper{Client: r.Client, Live: r.live, Writes: revisions}
	return turn.NewController(mgr).
		Named("statefulset-controller").
		For(&appsv1.StatefulSet{}, builder.WithPredicates(podctl.ByOthers(r.own))).
		Owns(&appsv1.ControllerRevision{}).
		Watches(&corev1.Pod{}, podctl.Handler(kind, r.selectors)).
		Watches(&corev1.PersistentVolumeClaim{}, r.claimGone()).
		Complete(r)
}

func (r *Reconciler) selectors(ctx context.Context, namespace string) (map[client.ObjectKey]*metav1.LabelSelector, error) {
	var list appsv1.StatefulSetList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list stateful sets in %s: %w", namespace, err)
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
	set *appsv1.StatefulSet

	revisions       []*appsv1.ControllerRevision
	current, update revision
	view            *view // nil: not enough is known for a status
	collided        bool
}

func (s *scope) ref() metav1.OwnerReference { return *metav1.NewControllerRef(s.set, kind) }

func (s *scope) owner() history.Owner {
	return history.Owner{
		Object: s.set, Ref: s.ref(), Selector: s.set.Spec.Selector, Template: &s.set.Spec.Template,
		HashLabel: "controller.kubernetes.io/hash", Collisions: ptr.Deref(s.set.Status.CollisionCount, 0),
	}
}

// Reconcile runs one turn for one StatefulSet.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := errors.Join(r.own.Wait(ctx, req.NamespacedName), r.pods.Writes.Wait(ctx, req.NamespacedName), r.history.Writes.Wait(ctx, req.NamespacedName)); err != nil {
		return ctrl.Result{}, err
	}
	set := &appsv1.StatefulSet{}
	if err := r.Client.Get(ctx, req.NamespacedName, set); err != nil {
		if apierrors.IsNotFound(err) {
			r.own.Forget(req.NamespacedName)
			r.pods.Writes.Forget(req.NamespacedName)
			r.history.Writes.Forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{key: req.NamespacedName, set: set}
	result, err := turn.InOrder(ctx, s, r.findRevisions, r.listPods, r.ownClaims, r.managePods, r.trimHistory)
	next, statusErr := r.writeStatus(ctx, s)
	return turn.Sooner(result, next.RequeueAfter), errors.Join(err, statusErr)
}

// findRevisions makes sure that the present template has a revision, and finds
// the one that pods below the partition have.
func (r *Reconciler) findRevisions(ctx context.Context, s *scope) (ctrl.Result, error) {
	var err error
	if s.revisions, err = r.history.List(ctx, s.owner()); err != nil {
		return ctrl.Result{}, err
	}
	update, err := r.history.Current(ctx, s.owner(), s.revisions)
	if err != nil {
		return ctrl.Result{}, err
	}
	if update == nil {
		s.collided = true
		s.set.Status.CollisionCount = ptr.To(ptr.Deref(s.set.Status.CollisionCount, 0) + 1)
		return ctrl.Result{}, nil
	}
	s.update = revision{update.Name, &s.set.Spec.Template}
	s.current = s.update
	for _, each := range s.revisions {
		if each.Name == s.set.Status.CurrentRevision {
			template, err := history.Template(each)
			if err != nil {
				return ctrl.Result{}, err
			}
			s.current = revision{each.Name, template}
		}
	}
	return ctrl.Result{}, nil
}

// listPods finds the set's pods. An orphan is adopted only if it has a name
// such as the set gives.
func (r *Reconciler) listPods(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.collided {
		return ctrl.Result{}, nil
	}
	isMember := func(pod *corev1.Pod) bool { _, ok := ordinalOf(s.set, pod); return ok }
	pods, err := r.pods.Claim(ctx, r.live, s.set, s.ref(), s.set.Spec.Selector, isMember)
	if err != nil {
		return ctrl.Result{}, err
	}
	s.view = newView(s.set, s.ref(), s.current, s.update, pods, r.Clock.Now())
	return ctrl.Result{}, nil
}

// managePods takes the next step: creates pods, deletes pods, and corrects the
// labels of identity.
func (r *Reconciler) managePods(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.view == nil || s.set.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	if err := r.keepIdentity(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	plan := planPods(s.view)
	left := plan.create
	for _, size := range podctl.Batches(len(left)) {
		batch := left[:size]
		left = left[size:]
		if err := podctl.InParallel(size, func(i int) error { return r.createPod(ctx, s, batch[i]) }); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, podctl.InParallel(len(plan.remove), func(i int) error { return r.deletePod(ctx, s, plan.remove[i]) })
}

// keepIdentity corrects the labels that say who a pod is, for one that was
// adopted, and creates claims that a waiting pod is in want of.
func (r *Reconciler) keepIdentity(ctx context.Context, s *scope) error {
	for slot, pod := range s.view.slots {
		if pod == nil || pod.DeletionTimestamp != nil {
			continue
		}
		if pod.Status.Phase == corev1.PodPending {
			if _, err := r.ensureClaims(ctx, s, pod); err != nil {
				return err
			}
		}
		labels := identityLabels(pod, s.view.start()+slot)
		if apiequality.Semantic.DeepEqual(labels, pod.Labels) {
			continue
		}
		changed := pod.DeepCopy()
		changed.Labels = labels
		if err := r.Client.Patch(ctx, changed, client.MergeFrom(pod)); err != nil {
			return fmt.Errorf("label pod %s: %w", klog.KObj(pod), err)
		}
		r.pods.Writes.Wrote(s.key, changed)
	}
	return nil
}

func (r *Reconciler) createPod(ctx context.Context, s *scope, pod *corev1.Pod) error {
	if ready, err := r.ensureClaims(ctx, s, pod); err != nil || !ready {
		return err
	}
	err := r.Client.Create(ctx, pod)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil // and soon there will be no set to want it
	case err != nil:
		if !apierrors.IsAlreadyExists(err) {
			r.Events.Eventf(s.set, pod, corev1.EventTypeWarning, "FailedCreate", "Create",
				"create Pod %s in StatefulSet %s failed error: %s", pod.Name, s.set.Name, err)
		}
		return fmt.Errorf("create pod %s: %w", klog.KObj(pod), err)
	}
	r.pods.Writes.Wrote(s.key, pod)
	r.Events.Eventf(s.set, pod, corev1.EventTypeNormal, "SuccessfulCreate", "Create",
		"create Pod %s in StatefulSet %s successful", pod.Name, s.set.Name)
	return nil
}

func (r *Reconciler) deletePod(ctx context.Context, s *scope, pod *corev1.Pod) error {
	switch pod.Status.Phase {
	case corev1.PodFailed:
		r.Events.Eventf(s.set, pod, corev1.EventTypeWarning, "RecreatingFailedPod", "Delete",
			"StatefulSet %s/%s is recreating failed Pod %s", s.set.Namespace, s.set.Name, pod.Name)
	case corev1.PodSucceeded:
		r.Events.Eventf(s.set, pod, corev1.EventTypeNormal, "RecreatingTerminatedPod", "Delete",
			"StatefulSet %s/%s is recreating terminated Pod %s", s.set.Namespace, s.set.Name, pod.Name)
	}
	err := r.Client.Delete(ctx, pod, client.Preconditions{UID: &pod.UID})
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		r.Events.Eventf(s.set, pod, corev1.EventTypeWarning, "FailedDelete", "Delete",
			"delete Pod %s in StatefulSet %s failed error: %s", pod.Name, s.set.Name, err)
		return fmt.Errorf("delete pod %s: %w", klog.KObj(pod), err)
	}
	r.pods.Writes.Deleted(s.key, pod)
	r.Events.Eventf(s.set, pod, corev1.EventTypeNormal, "SuccessfulDelete", "Delete",
		"delete Pod %s in StatefulSet %s successful", pod.Name, s.set.Name)
	return nil
}

// trimHistory deletes old revisions that no pod has any more.
func (r *Reconciler) trimHistory(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.view == nil || s.set.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	used := map[string]bool{s.current.name: true, s.update.name: true}
	for _, pod := range slices.Concat(s.view.slots, s.view.condemned) {
		if pod != nil {
			used[pod.Labels[hashLabel]] = true
		}
	}
	inUse := func(revision *appsv1.ControllerRevision) bool { return used[revision.Name] }
	return ctrl.Result{}, r.history.Trim(ctx, s.owner(), s.revisions, inUse, ptr.Deref(s.set.Spec.RevisionHistoryLimit, 10))
}

// writeStatus reports what the turn saw, if that differs from what is reported,
// and asks for another turn when the next pod becomes available.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.view == nil && !s.collided {
		return ctrl.Result{}, nil
	}
	var result ctrl.Result
	changed := s.set.DeepCopy()
	if s.view != nil {
		changed.Status, result.RequeueAfter = planStatus(s.view)
	}
	if !s.collided && apiequality.Semantic.DeepEqual(changed.Status, s.set.Status) {
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
