package job

import (
	"context"
	"errors"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
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

	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs/status,verbs=update
// +kubebuilder:rbac:groups=batch,resources=jobs/finalizers,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;create;delete;patch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler runs the pods of each Job to its end.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	live     client.Reader        // the server itself, not the cache
	own      *consistency.Tracker // writes of Jobs
	pods     podctl.Control
	failures records
	freed    freed
}

var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// SetupWithManager adds the controller to mgr: changes of a Job's spec and of
// its pods start a turn. Beside it, strays are freed.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	registerMetrics()
	ctx := context.Background() // nothing below outlives this call
	if err := ownership.Index(ctx, mgr, &corev1.Pod{}); err != nil {
		return err
	}
	var err error
	if r.own, err = podctl.Track(ctx, mgr, &batchv1.Job{}); err != nil {
		return err
	}
	writes, err := podctl.Track(ctx, mgr, &corev1.Pod{})
	if err != nil {
		return err
	}
	r.pods = podctl.Control{Client: r.Client, Events: r.Events, Writes: writes}
	r.live = mgr.GetAPIReader()
	if err := (&strays{client: r.Client, live: r.live}).setup(mgr); err != nil {
		return err
	}
	return turn.NewController(mgr).
		Named("job-controller").
		For(&batchv1.Job{}, builder.WithPredicates(podctl.ByOthers(r.own))).
		Watches(&corev1.Pod{}, podctl.Handler(kind, r.selectors)).
		Complete(r)
}

func (r *Reconciler) selectors(ctx context.Context, namespace string) (map[client.ObjectKey]*metav1.LabelSelector, error) {
	var list batchv1.JobList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list jobs in %s: %w", namespace, err)
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
	job *batchv1.Job // a copy; its status is changed as the turn goes

	// before is the status that the server has.
	before batchv1.JobStatus

	now   time.Time // of the turn, so that all its steps agree
	pods  []*corev1.Pod
	tally tally

	// failures is the backoff's record with this turn's ends in it.
	failures record

	// target is the certain outcome, nil while the Job goes on.
	target *batchv1.JobCondition

	// told are the events to send once the status is written.
	told []notice

	failure error // of creating or deleting pods

	action string // what the turn does, for the metrics
}

type notice struct{ kind, reason, message string }

// Reconcile runs one turn for one Job.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := errors.Join(r.own.Wait(ctx, req.NamespacedName), r.pods.Writes.Wait(ctx, req.NamespacedName)); err != nil {
		return ctrl.Result{}, err
	}
	job := &batchv1.Job{}
	if err := r.Client.Get(ctx, req.NamespacedName, job); err != nil {
		if apierrors.IsNotFound(err) {
			r.own.Forget(req.NamespacedName)
			r.pods.Writes.Forget(req.NamespacedName)
			r.failures.forget(req.NamespacedName)
			r.freed.forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if isFinished(job) {
		r.failures.forget(req.NamespacedName)
		r.freed.forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	if ptr.Deref(job.Spec.ManagedBy, batchv1.JobControllerName) != batchv1.JobControllerName {
		klog.FromContext(ctx).V(1).Info("Job is left to another controller", "Job", klog.KObj(job), "managedBy", *job.Spec.ManagedBy)
		return ctrl.Result{}, nil
	}
	s := &scope{key: req.NamespacedName, job: job, before: *job.Status.DeepCopy(), now: r.Clock.Now(), action: reconciling}
	began := time.Now()
	result, err := turn.InOrder(ctx, s, r.listPods, r.judge, r.scale, r.track)
	measureTurn(s, time.Since(began), errors.Join(err, s.failure))
	if apierrors.IsConflict(err) {
		return turn.Written(ctx, result, err)
	}
	return result, errors.Join(err, s.failure)
}

// listPods finds the Job's pods; those that it adopts are tracked from then on.
func (r *Reconciler) listPods(ctx context.Context, s *scope) (ctrl.Result, error) {
	pods, err := r.pods.Claim(ctx, r.live, s.job, *metav1.NewControllerRef(s.job, kind), s.job.Spec.Selector, nil, batchv1.JobTrackingFinalizer)
	s.pods = r.freed.apply(s.key, pods)
	return ctrl.Result{}, err
}

// judge counts the pods and decides whether the Job's outcome is certain.
func (r *Reconciler) judge(_ context.Context, s *scope) (ctrl.Result, error) {
	if s.job.Status.StartTime == nil && !isSuspended(s.job) {
		s.job.Status.StartTime = ptr.To(metav1.NewTime(s.now))
	}
	s.tally = count(s.job, s.pods)
	s.failures = r.failures.get(s.key, s.job.UID).after(s.tally.newSucceeded, s.tally.newFailed)
	s.target = verdict(s.job, s.pods, s.tally, s.now)
	if left, ok := deadline(s.job, s.now); ok && s.target == nil {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	return ctrl.Result{}, nil
}

// scale deletes what a certain outcome makes needless, or else brings the
// number of active pods to what is asked for.
func (r *Reconciler) scale(ctx context.Context, s *scope) (ctrl.Result, error) {
	status := &s.job.Status
	active, terminating := s.tally.active, int32(len(s.tally.terminating))
	created := 0
	var plan scalePlan
	switch {
	case s.target != nil:
		if len(active) > 0 {
			s.action = podsDeleted
		}
		// With their finalizers: track counts them as failed, if the Job fails.
		if s.failure = r.pods.Delete(ctx, s.job, active); s.failure != nil {
			s.target = nil // all of it again, once they are gone
			break
		}
		terminating += int32(len(active))
		active = nil
	case s.job.DeletionTimestamp == nil:
		plan = planScale(s.job, s.tally, s.failures, *metav1.NewControllerRef(s.job, kind), s.now)
		if s.failure = r.remove(ctx, s, plan.remove); s.failure == nil {
			active = without(active, plan.remove)
			terminating += int32(len(plan.remove))
		}
		if len(plan.remove) > 0 {
			s.action = podsDeleted
		}
		if len(plan.create) > 0 {
			s.action = podsCreated
			created, s.failure = r.pods.Create(ctx, s.job, plan.create)
		}
	}
	status.Active = int32(len(active) + created)
	status.Ready = ptr.To(readyAmong(active))
	status.Terminating = &terminating
	if s.target == nil && s.job.DeletionTimestamp == nil {
		if s.target = reached(s.job, s.tally, int(status.Active), s.now); s.target == nil {
			r.reportSuspension(s)
		}
	}
	return ctrl.Result{RequeueAfter: plan.wait}, nil
}

// remove deletes pods that are too many. They lose their finalizer first, since
// nobody is to count them as failed.
func (r *Reconciler) remove(ctx context.Context, s *scope, pods []*corev1.Pod) error {
	if _, err := r.untrack(ctx, s, pods); err != nil {
		return err
	}
	return r.pods.Delete(ctx, s.job, pods)
}

// reportSuspension keeps the condition Suspended in step with spec.suspend.
// Time runs anew for a Job that is resumed.
func (r *Reconciler) reportSuspension(s *scope) {
	condition := newCondition(batchv1.JobSuspended, corev1.ConditionFalse, "JobResumed", "Job resumed", s.now)
	event := "Resumed"
	if isSuspended(s.job) {
		condition = newCondition(batchv1.JobSuspended, corev1.ConditionTrue, "JobSuspended", "Job suspended", s.now)
		event = "Suspended"
	}
	conditions, changed := set(s.job.Status.Conditions, condition)
	if !changed {
		return
	}
	s.job.Status.Conditions = conditions
	s.told = append(s.told, notice{corev1.EventTypeNormal, event, condition.Message})
	if !isSuspended(s.job) {
		s.job.Status.StartTime = ptr.To(metav1.NewTime(s.now))
	}
}

// track counts the pods that have ended, in an order that survives a crash
// after each step, and ends the Job when all are counted.
func (r *Reconciler) track(ctx context.Context, s *scope) (ctrl.Result, error) {
	plan := planCount(s.job, s.pods, s.tally, s.target)
	s.job.Status = plan.status
	if err := r.writeStatus(ctx, s); err != nil {
		return ctrl.Result{}, err
	}
	r.failures.set(s.key, s.job.UID, s.failures)
	for _, n := range s.told {
		r.Events.Eventf(s.job, nil, n.kind, n.reason, n.reason, "%s", n.message)
	}

	released, err := r.untrack(ctx, s, plan.release)
	for _, pod := range released {
		plan.tracked.Delete(pod.UID)
	}
	settle(&s.job.Status, plan.tracked)
	var end *batchv1.JobCondition
	if err == nil && !plan.full {
		end = finish(&s.job.Status, s.target, s.now)
	}
	if err := errors.Join(err, r.writeStatus(ctx, s)); err != nil {
		return ctrl.Result{}, err
	}
	if end != nil {
		r.recordEnd(s.job, end)
	}
	if plan.full {
		return ctrl.Result{RequeueAfter: turn.Conflict}, nil
	}
	return ctrl.Result{}, nil
}

// writeStatus writes the status if it differs from the server's.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) error {
	if apiequality.Semantic.DeepEqual(s.before, s.job.Status) {
		return nil
	}
	if err := r.Client.Status().Update(ctx, s.job); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("update status of job %s: %w", s.key, err)
	}
	r.own.Wrote(s.key, s.job)
	measureCounted(s.job, s.before)
	if s.job.Status.UncountedTerminatedPods == nil { // empty is omitted on the way
		s.job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	s.before = *s.job.Status.DeepCopy()
	return nil
}

func (r *Reconciler) recordEnd(job *batchv1.Job, end *batchv1.JobCondition) {
	measureEnd(job, end)
	if end.Type == batchv1.JobFailed {
		r.Events.Eventf(job, nil, corev1.EventTypeWarning, end.Reason, "Fail", "%s", end.Message)
		return
	}
	if job.Spec.Completions != nil && job.Status.Succeeded > *job.Spec.Completions {
		r.Events.Eventf(job, nil, corev1.EventTypeWarning, "TooManySucceededPods", "Complete", "Too many succeeded pods running after completion count reached")
	}
	r.Events.Eventf(job, nil, corev1.EventTypeNormal, "Completed", "Complete", "Job completed")
}

// untrack removes the finalizer from pods and returns those that are without it
// now, also when it fails for others.
func (r *Reconciler) untrack(ctx context.Context, s *scope, pods []*corev1.Pod) ([]*corev1.Pod, error) {
	done := make([]bool, len(pods))
	err := podctl.InParallel(len(pods), func(i int) error {
		patched, err := dropFinalizer(ctx, r.Client, pods[i])
		if err != nil {
			return err
		}
		if patched != nil {
			r.pods.Writes.Wrote(s.key, patched)
		}
		r.freed.add(s.key, pods[i].UID)
		done[i] = true
		return nil
	})
	var released []*corev1.Pod
	for i, pod := range pods {
		if done[i] {
			released = append(released, pod)
		}
	}
	return released, err
}

func readyAmong(pods []*corev1.Pod) int32 {
	var ready int32
	for _, pod := range pods {
		if podctl.IsReady(pod) {
			ready++
		}
	}
	return ready
}

// without returns all but some of a list of pods.
func without(pods, some []*corev1.Pod) []*corev1.Pod {
	dropped := map[*corev1.Pod]bool{}
	for _, pod := range some {
		dropped[pod] = true
	}
	var left []*corev1.Pod
	for _, pod := range pods {
		if !dropped[pod] {
			left = append(left, pod)
		}
	}
	return left
}
