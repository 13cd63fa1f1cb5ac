package cronjob

import (
	"context"
	"errors"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// +kubebuilder:rbac:groups=batch,resources=cronjobs,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=cronjobs/status,verbs=update
// +kubebuilder:rbac:groups=batch,resources=cronjobs/finalizers,verbs=update
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;create;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler starts the Jobs of each CronJob.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock
	Events events.EventRecorder

	live   client.Reader        // the server itself, not the cache
	own    *consistency.Tracker // writes of CronJobs
	writes *consistency.Tracker // writes of Jobs, by CronJob
}

var kind = batchv1.SchemeGroupVersion.WithKind("CronJob")

// SetupWithManager adds the controller to mgr: changes of a CronJob's spec and
// the end of its Jobs start a turn, and else only its schedule does.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	registerMetrics()
	ctx := context.Background() // nothing below outlives this call
	if err := ownership.Index(ctx, mgr, &batchv1.Job{}); err != nil {
		return err
	}
	var err error
	if r.own, err = podctl.Track(ctx, mgr, &batchv1.CronJob{}); err != nil {
		return err
	}
	if r.writes, err = podctl.Track(ctx, mgr, &batchv1.Job{}); err != nil {
		return err
	}
	r.live = mgr.GetAPIReader()
	ended := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, wasJob := e.ObjectOld.(*batchv1.Job)
		after, isJob := e.ObjectNew.(*batchv1.Job)
		return wasJob && isJob && (finished(before) != finished(after) || before.UID != after.UID)
	}}
	return turn.NewController(mgr).
		Named("cronjob-controller").
		For(&batchv1.CronJob{}, builder.WithPredicates(podctl.ByOthers(r.own))).
		Owns(&batchv1.Job{}, builder.WithPredicates(ended)).
		Complete(r)
}

// scope is what one turn has read and decided.
type scope struct {
	key     client.ObjectKey
	cronJob *batchv1.CronJob // a copy; its status is changed as the turn goes
	before  batchv1.CronJobStatus
	jobs    []*batchv1.Job // the cache's own
}

// Reconcile runs one turn for one CronJob.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := errors.Join(r.own.Wait(ctx, req.NamespacedName), r.writes.Wait(ctx, req.NamespacedName)); err != nil {
		return ctrl.Result{}, err
	}
	cronJob := &batchv1.CronJob{}
	if err := r.Client.Get(ctx, req.NamespacedName, cronJob); err != nil {
		if apierrors.IsNotFound(err) {
			r.own.Forget(req.NamespacedName)
			r.writes.Forget(req.NamespacedName)
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	s := &scope{key: req.NamespacedName, cronJob: cronJob, before: *cronJob.Status.DeepCopy()}
	result, err := turn.InOrder(ctx, s, r.listJobs, r.findActive, r.run, r.trimHistory)
	next, statusErr := r.writeStatus(ctx, s)
	return turn.Sooner(result, next.RequeueAfter), errors.Join(err, statusErr)
}

func (r *Reconciler) listJobs(ctx context.Context, s *scope) (ctrl.Result, error) {
	var list batchv1.JobList
	if err := ownership.List(ctx, r.Client, &list, s.key.Namespace, s.cronJob.UID); err != nil {
		return ctrl.Result{}, err
	}
	for i := range list.Items {
		s.jobs = append(s.jobs, &list.Items[i])
	}
	return ctrl.Result{}, nil
}

// findActive brings status.active up to date.
func (r *Reconciler) findActive(ctx context.Context, s *scope) (ctrl.Result, error) {
	plan := planActive(s.cronJob, s.jobs)
	s.cronJob.Status.Active, s.cronJob.Status.LastScheduleTime, s.cronJob.Status.LastSuccessfulTime = plan.active, plan.started, plan.success
	r.tell(s, plan.told)
	for _, ref := range plan.lost {
		job := &batchv1.Job{}
		err := r.live.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, job)
		if client.IgnoreNotFound(err) != nil {
			return ctrl.Result{}, fmt.Errorf("read job %s: %w", ref.Name, err)
		}
		if err == nil && job.UID == ref.UID {
			continue
		}
		r.tell(s, []notice{normal("MissingJob", "Active job went missing: %v", ref.Name)})
		r.dropActive(s, ref)
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) dropActive(s *scope, gone corev1.ObjectReference) {
	s.cronJob.Status.Active = slices.DeleteFunc(s.cronJob.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == gone.UID })
}

func (r *Reconciler) tell(s *scope, told []notice) {
	for _, n := range told {
		r.Events.Eventf(s.cronJob, nil, n.kind, n.reason, n.reason, "%s", n.message)
	}
}

// run starts the Job that is due, if one is.
func (r *Reconciler) run(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.cronJob.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	plan := planRun(s.cronJob, len(s.cronJob.Status.Active), r.Clock.Now())
	r.tell(s, plan.told)
	result := ctrl.Result{RequeueAfter: plan.wait}
	if plan.at.IsZero() {
		return result, nil
	}
	if plan.replace {
		for _, ref := range slices.Clone(s.cronJob.Status.Active) {
			job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.key.Namespace, Name: ref.Name, UID: ref.UID}}
			if err := r.deleteJob(ctx, s, job); err != nil {
				return ctrl.Result{}, err
			}
			r.dropActive(s, ref)
		}
	}
	job, err := r.createJob(ctx, s, newJob(s.cronJob, plan.at))
	if err != nil {
		return ctrl.Result{}, err
	}
	if job != nil {
		creationSkew.Observe(job.CreationTimestamp.Sub(plan.at).Seconds())
		s.cronJob.Status.LastScheduleTime = ptr.To(metav1.NewTime(plan.at))
	}
	return result, nil
}

// createJob creates a Job, or finds it when an earlier turn did and could not
// say so. It returns nil in a namespace that is being deleted.
func (r *Reconciler) createJob(ctx context.Context, s *scope, job *batchv1.Job) (*batchv1.Job, error) {
	err := r.Client.Create(ctx, job)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil, nil
	case apierrors.IsAlreadyExists(err):
		existing := &batchv1.Job{}
		if err := r.live.Get(ctx, client.ObjectKeyFromObject(job), existing); err != nil {
			return nil, fmt.Errorf("read job %s: %w", job.Name, err)
		}
		if !metav1.IsControlledBy(existing, s.cronJob) {
			r.tell(s, []notice{warning("FailedCreate", "Error creating job: %v", err)})
			return nil, fmt.Errorf("create job %s: %w", job.Name, err)
		}
		job = existing
	case err != nil:
		r.tell(s, []notice{warning("FailedCreate", "Error creating job: %v", err)})
		return nil, fmt.Errorf("create job %s: %w", job.Name, err)
	default:
		r.writes.Wrote(s.key, job)
		r.tell(s, []notice{normal("SuccessfulCreate", "Created job %v", job.Name)})
	}
	if finished(job) == "" && !slices.ContainsFunc(s.cronJob.Status.Active, func(ref corev1.ObjectReference) bool { return ref.UID == job.UID }) {
		s.cronJob.Status.Active = append(s.cronJob.Status.Active, reference(job))
	}
	return job, nil
}

func (r *Reconciler) deleteJob(ctx context.Context, s *scope, job *batchv1.Job) error {
	err := r.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		r.tell(s, []notice{warning("FailedDelete", "Deleted job: %v", err)})
		return fmt.Errorf("delete job %s: %w", job.Name, err)
	}
	r.writes.Deleted(s.key, job)
	r.tell(s, []notice{normal("SuccessfulDelete", "Deleted job %v", job.Name)})
	return nil
}

// trimHistory deletes finished Jobs beyond the limits.
func (r *Reconciler) trimHistory(ctx context.Context, s *scope) (ctrl.Result, error) {
	if s.cronJob.DeletionTimestamp != nil {
		return ctrl.Result{}, nil
	}
	for _, job := range planHistory(s.cronJob, s.jobs) {
		if err := r.deleteJob(ctx, s, job); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, nil
}

// writeStatus writes the status if it differs from the server's.
func (r *Reconciler) writeStatus(ctx context.Context, s *scope) (ctrl.Result, error) {
	if apiequality.Semantic.DeepEqual(s.before, s.cronJob.Status) {
		return ctrl.Result{}, nil
	}
	err := r.Client.Status().Update(ctx, s.cronJob)
	if err == nil {
		r.own.Wrote(s.key, s.cronJob)
	}
	return turn.Written(ctx, ctrl.Result{}, err)
}
