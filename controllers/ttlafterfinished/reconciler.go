package ttlafterfinished

import (
	"context"
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch;delete

// Reconciler deletes each finished Job when its time has come.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock

	live client.Reader // the server itself, not the cache
}

// SetupWithManager adds the controller to mgr: only Jobs that are to be deleted
// start a turn.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.live = mgr.GetAPIReader()
	expires := predicate.NewPredicateFuncs(func(obj client.Object) bool {
		job, ok := obj.(*batchv1.Job)
		_, ends := expiry(job)
		return ok && ends
	})
	return turn.NewController(mgr).
		Named("ttl-after-finished-controller").
		For(&batchv1.Job{}, builder.WithPredicates(expires)).
		Complete(r)
}

// Reconcile runs one turn for one Job.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	job := &batchv1.Job{}
	if left, expires, err := r.read(ctx, r.Client, req, job); err != nil || !expires || left > 0 {
		return ctrl.Result{RequeueAfter: left}, err
	}
	// The cache may not know yet that the time was made longer.
	if left, expires, err := r.read(ctx, r.live, req, job); err != nil || !expires || left > 0 {
		return ctrl.Result{RequeueAfter: left}, err
	}
	klog.FromContext(ctx).Info("Finished Job is deleted", "Job", klog.KObj(job))
	err := r.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID, ResourceVersion: &job.ResourceVersion},
		client.PropagationPolicy(metav1.DeletePropagationForeground))
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("delete finished job %s: %w", klog.KObj(job), err)
	}
	return ctrl.Result{}, nil
}

// read reads a Job and says how long it may stay.
func (r *Reconciler) read(ctx context.Context, from client.Reader, req ctrl.Request, job *batchv1.Job) (left time.Duration, expires bool, err error) {
	if err := from.Get(ctx, req.NamespacedName, job); err != nil {
		return 0, false, client.IgnoreNotFound(err)
	}
	at, expires := expiry(job)
	if !expires {
		return 0, false, nil
	}
	return max(0, at.Sub(r.Clock.Now())), true, nil
}

// expiry is when a Job is to be deleted; not ok when it has not finished, may
// stay forever or is being deleted.
func expiry(job *batchv1.Job) (at time.Time, ok bool) {
	if job == nil || job.DeletionTimestamp != nil || job.Spec.TTLSecondsAfterFinished == nil {
		return time.Time{}, false
	}
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return c.LastTransitionTime.Add(time.Duration(*job.Spec.TTLSecondsAfterFinished) * time.Second), true
		}
	}
	return time.Time{}, false
}
