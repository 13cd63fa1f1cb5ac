package deployment

import (
	"context"
	"errors"
	"fmt"
	"maps"

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

// +kubebuilder:rbac:groups=apps,resources=deployments,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=apps,resources=deployments/status,verbs=update
// +kubebuilder:rbac:groups=apps,resources=deployments/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=replicasets,verbs=get;list;watch;create;delete;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler rolls each Deployment's ReplicaSets towards its pod template.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	live   client.Reader        // the server itself, not the cache
	own    *consistency.Tracker // writes of Deployments
	writes *consistency.Tracker // writes of ReplicaSets, by Deployment
}

var kind = appsv1.SchemeGroupVersion.WithKind("Deployment")

// SetupWithManager adds the controller to mgr: changes of a Deployment's spec
// or annotations and of its sets start a turn, and so does, for Recreate, the
// end of a pod.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	ctx := context.Background() // nothing below outlives this call
	for _, obj := range []client.Object{&corev1.Pod{}, &appsv1.ReplicaSet{}} {
		if err := ownership.Index(ctx, mgr, obj); err != nil {
			return err
		}
	}
	var err error
	if r.own, err = trackerOf(ctx, mgr, &appsv1.Deployment{}); err != nil {
		return err
	}
	if r.writes, err = trackerOf(ctx, mgr, &appsv1.ReplicaSet{}); err != nil {
		return err
	}
	r.live = mgr.GetAPIReader()
	return turn.NewController(mgr).
		Named("deployment-controller").
		For(&appsv1.Deployment{}, builder.WithPredicates(podctl.ByOthers(r.own))).
		Watches(&appsv1.ReplicaSet{}, ownership.Handler[*appsv1.ReplicaSet]{Owner: kind, Same: sameVersion, Adopters: r.adopters}).
		Watches(&corev1.Pod{}, r.podEnds()).
		Complete(r)
}

func trackerOf(ctx context.Context, mgr ctrl.Manager, obj client.Object) (*consistency.Tracker, error) {
	informer, err := mgr.GetCache().GetInformer(ctx, obj)
	if err != nil {
		return nil, fmt.Errorf("get informer of %T: %w", obj, err)
	}
	tracker, err := consistency.New(informer)
	if err != nil {
		return nil, fmt.Errorf("track writes of %T: %w", obj, err)
	}
	return tracker, nil
}

// scope is what one turn has read and decided.
type scope struct {
	key client.ObjectKey
	d   *appsv1.Deployment // a copy; its status is changed as the turn goes

	// before is the status that the server has.
	before appsv1.DeploymentStatus

	// sets are all of the Deployment's, the cache's own: newest has its
	// template (nil: not created yet), old are the others, by age.
	newest *appsv1.ReplicaSet
	old    []*appsv1.ReplicaSet

	listed     bool // sets are known, so that a status can be given
	selectsAll bool // the selector is empty: nothing can be done
	rollingOut bool // neither paused, scaled nor being deleted: progress counts
	collided   bool // the new set's name is taken; there will be another hash
}

// sets returns all sets, the newest last.
func (s *scope) sets() []*appsv1.ReplicaSet {
	if s.newest == nil {
		return s.old
	}
	return append(s.old[:len(s.old):len(s.old)], s.newest)
}

// Reconcile runs one turn for one Deployment.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := errors.Join(r.own.Wait(ctx, req.NamespacedName), r.writes.Wait(ctx, req.NamespacedName)); err != nil {
		return ctrl.Result{}, err
	}
	d := &appsv1.Deployment{}
	if err := r.Client.Get(ctx, req.NamespacedName, d); err != nil {
		if apierrors.IsNotFound(err) {
			r.own.Forget(req.NamespacedName)
			r.writes.Forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{key: req.NamespacedName, d: d, before: *d.Status.DeepCopy()}
	result, err := turn.InOrder(ctx, s, r.listSets, r.rollOut, r.deleteHistory)
	next, statusErr := r.writeStatus(ctx, s)
	return turn.Sooner(result, next.RequeueAfter), errors.Join(err, statusErr)
}

// listSets finds the Deployment's sets, adopts those that should be and
// releases those that should not, and tells the newest from the old ones.
func (r *Reconciler) listSets(ctx context.Context, s *scope) (ctrl.Result, error) {
	selector, err := metav1.LabelSelectorAsSelector(s.d.Spec.Selector)
	if err != nil {
		// The server admits no such object, and trying again will not cure it.
		return ctrl.Result{}, reconcile.TerminalError(fmt.Errorf("read selector of %s: %w", s.key, err))
	}
	if selector.Empty() {
		r.Events.Eventf(s.d, nil, corev1.EventTypeWarning, "SelectingAll", "Select", "This deployment is selecting all pods. A non-empty selector is required.")
		s.selectsAll = true
		return ctrl.Result{}, nil
	}
	var owned, orphans appsv1.ReplicaSetList
	if err := ownership.List(ctx, r.Client, &owned, s.key.Namespace, s.d.UID); err != nil {
		return ctrl.Result{}, err
	}
	if err := ownership.ListOrphans(ctx, r.Client, &orphans, s.key.Namespace); err != nil {
		return ctrl.Result{}, err
	}
	sets, err := r.claim(ctx, s, ownership.Plan(s.d, selector, setsOf(&owned), setsOf(&orphans)))
	if err != nil {
		return ctrl.Result{}, err
	}
	s.newest, s.old = findNew(s.d, sets)
	s.listed = true
	return ctrl.Result{}, nil
}

// claim adopts and releases as planned and returns the Deployment's sets.
func (r *Reconciler) claim(ctx context.Context, s *scope, claims ownership.Claims[*appsv1.ReplicaSet]) ([]*appsv1.ReplicaSet, error) {
	sets := claims.Keep
	for _, set := range claims.Release {
		released, exists, err := ownership.Release(ctx, r.Client, set, s.d.UID)
		if err != nil {
			return nil, err
		}
		if exists {
			r.writes.Wrote(s.key, released)
		}
	}
	if len(claims.Adopt) == 0 {
		return sets, nil
	}
	if err := ownership.CheckOwner(ctx, r.live, s.d); err != nil {
		return nil, err
	}
	for _, set := range claims.Adopt {
		adopted, exists, err := ownership.Adopt(ctx, r.Client, set, *metav1.NewControllerRef(s.d, kind))
		if err != nil {
			return nil, err
		}
		if exists {
			r.writes.Wrote(s.key, adopted)
			sets = append(sets, adopted)
		}
	}
	return sets, nil
}

// rollOut brings the sets to the sizes that the Deployment's state asks for.
func (r *Reconciler) rollOut(ctx context.Context, s *scope) (ctrl.Result, error) {
	if !s.listed || s.d.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	s.d.Status.Conditions = planPaused(s.d, r.Clock.Now())
	if s.d.Spec.Paused || (isRolling(s.d) && wasScaled(s.d, s.sets())) {
		if err := r.keepNew(ctx, s); err != nil {
			return ctrl.Result{}, err
		}
		return ctrl.Result{}, r.resizeAll(ctx, s, planScale(s.d, s.newest, s.old))
	}
	s.rollingOut = true
	if isRolling(s.d) {
		if err := r.ensureNew(ctx, s); err != nil || s.collided {
			return ctrl.Result{}, err
		}
		return ctrl.Result{}, r.resizeAll(ctx, s, planRolling(s.d, s.newest, s.old))
	}
	return ctrl.Result{}, r.recreate(ctx, s)
}

// recreate ends all old pods, waits until they are gone, and only then lets
// the new ones start.
func (r *Reconciler) recreate(ctx context.Context, s *scope) error {
	if err := r.keepNew(ctx, s); err != nil {
		return err
	}
	if down := planOldDown(s.old); len(down) > 0 {
		return r.resizeAll(ctx, s, down)
	}
	running, err := r.oldPodsRun(ctx, s)
	if err != nil || running {
		return err
	}
	if err := r.ensureNew(ctx, s); err != nil || s.collided {
		return err
	}
	return r.resizeAll(ctx, s, []resize{{s.newest, replicas(s.d)}})
}

// oldPodsRun tells whether any pod of an old set may still be at work.
func (r *Reconciler) oldPodsRun(ctx context.Context, s *scope) (bool, error) {
	for _, set := range s.old {
		if set.Status.Replicas > 0 {
			return true, nil
		}
		var pods corev1.PodList
		if err := ownership.List(ctx, r.Client, &pods, s.key.Namespace, set.UID); err != nil {
			return false, err
		}
		for i := range pods.Items {
			if phase := pods.Items[i].Status.Phase; phase != corev1.PodSucceeded && phase != corev1.PodFailed {
				return true, nil
			}
		}
	}
	return false, nil
}

// resizeAll makes sets the size that a plan gives them, and has them remember
// the Deployment's size.
func (r *Reconciler) resizeAll(ctx context.Context, s *scope, plan []resize) error {
	for _, step := range plan {
		if err := r.resize(ctx, s, step); err != nil {
			return err
		}
	}
	return nil
}

func (r *Reconciler) resize(ctx context.Context, s *scope, step resize) error {
	was := sizeOf(step.set)
	changed := step.set.DeepCopy()
	changed.Spec.Replicas = &step.size
	changed.Annotations = sizeAnnotations(s.d, changed.Annotations)
	if err := r.patchSet(ctx, s, step.set, changed); err != nil {
		return err
	}
	if was != step.size {
		r.recordScaled(s, changed, was)
	}
	return nil
}

func (r *Reconciler) recordScaled(s *scope, set *appsv1.ReplicaSet, was int32) {
	direction := "up"
	if sizeOf(set) < was {
		direction = "down"
	}
	r.Events.Eventf(s.d, set, corev1.EventTypeNormal, "ScalingReplicaSet", "Scale",
		"Scaled %s replica set %s from %d to %d", direction, set.Name, was, sizeOf(set))
}

// patchSet writes what differs between set and changed, if anything does, and
// has the scope go on with changed. Only this controller sizes its sets, so
// that there is nothing to lose against and no version to name.
func (r *Reconciler) patchSet(ctx context.Context, s *scope, set, changed *appsv1.ReplicaSet) error {
	if sizeOf(set) == sizeOf(changed) && set.Spec.MinReadySeconds == changed.Spec.MinReadySeconds &&
		maps.Equal(set.Annotations, changed.Annotations) {
		return nil
	}
	if err := r.Client.Patch(ctx, changed, client.MergeFrom(set)); err != nil {
		return fmt.Errorf("patch replica set %s: %w", klog.KObj(set), err)
	}
	r.writes.Wrote(s.key, changed)
	if s.newest == set {
		s.newest = changed
	}
	for i := range s.old {
		if s.old[i] == set {
			s.old[i] = changed
		}
	}
	return nil
}

// deleteHistory deletes the oldest sets beyond the revision history limit, once
// the rollout is complete or while it is paused.
func (r *Reconciler) deleteHistory(ctx context.Context, s *scope) (ctrl.Result, error) {
	if !s.listed || s.d.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	status := planStatus(s, r.Clock.Now())
	if !s.d.Spec.Paused && (!s.rollingOut || !isComplete(s.d, &status)) {
		return ctrl.Result{}, nil
	}
	for _, set := range planHistory(s.d, s.old) {
		err := r.Client.Delete(ctx, set, client.Preconditions{UID: &set.UID})
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("delete old replica set %s: %w", klog.KObj(set), err)
		}
		if err == nil {
			r.writes.Deleted(s.key, set)
		}
	}
	return ctrl.Result{}, nil
}

func setsOf(list *appsv1.ReplicaSetList) []*appsv1.ReplicaSet {
	sets := make([]*appsv1.ReplicaSet, 0, len(list.Items))
	for i := range list.Items {
		sets = append(sets, &list.Items[i])
	}
	return sets
}

// matches tells whether a Deployment's selector matches a set's labels.
func matches(d *appsv1.Deployment, set *appsv1.ReplicaSet) bool {
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	return err == nil && !selector.Empty() && selector.Matches(labels.Set(set.Labels))
}
