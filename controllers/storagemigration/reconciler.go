package storagemigration

import (
	"context"
	"errors"
	"fmt"
	"time"

	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// +kubebuilder:rbac:groups=storagemigration.k8s.io,resources=storageversionmigrations,verbs=get;list;watch
// +kubebuilder:rbac:groups=storagemigration.k8s.io,resources=storageversionmigrations/status,verbs=update
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions/status,verbs=patch
// +kubebuilder:rbac:groups=*,resources=*,verbs=list;patch

// Names under which fields are written, upstream's.
const (
	migratorManager = "storage-version-migrator-controller"
	runnerManager   = "migration-runner-controller"
)

// A definition may be younger than the discovery that it is looked up in: a
// resource that is not there is waited for, as long as upstream does.
const (
	appearTime  = time.Minute
	appearPause = time.Second
)

var errNotServed = errors.New("resource does not exist in discovery")

// Reconciler runs migrations.
type Reconciler struct {
	Client client.Client
	Clock  clock.PassiveClock

	live client.Reader // the server itself, not the cache
}

// SetupWithManager adds the controller to mgr: a migration has a turn when it
// or another one of its resource changes, which may be the end of that.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.live = mgr.GetAPIReader()
	return turn.NewController(mgr).
		Named("storage-version-migrator-controller").
		For(&storagemigrationv1.StorageVersionMigration{}).
		Watches(&storagemigrationv1.StorageVersionMigration{}, handler.EnqueueRequestsFromMapFunc(r.others)).
		Complete(r)
}

// others are the unfinished migrations of the same resource.
func (r *Reconciler) others(ctx context.Context, obj client.Object) []ctrl.Request {
	m, ok := obj.(*storagemigrationv1.StorageVersionMigration)
	if !ok {
		return nil
	}
	list, err := r.sameResource(ctx, m)
	if err != nil {
		return nil // the cache is stopping
	}
	var out []ctrl.Request
	for i := range list {
		if list[i].Name != m.Name && !isOver(&list[i]) {
			out = append(out, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list[i])})
		}
	}
	return out
}

func (r *Reconciler) sameResource(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) ([]storagemigrationv1.StorageVersionMigration, error) {
	var list storagemigrationv1.StorageVersionMigrationList
	if err := r.Client.List(ctx, &list); err != nil {
		return nil, fmt.Errorf("list migrations: %w", err)
	}
	var out []storagemigrationv1.StorageVersionMigration
	for _, other := range list.Items {
		if other.Spec.Resource == m.Spec.Resource {
			out = append(out, other)
		}
	}
	return out, nil
}

// Reconcile runs one turn for one migration, which is all of it. One that is
// broken off by an error begins anew: what was written again is not written a
// second time.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	m := &storagemigrationv1.StorageVersionMigration{}
	if err := r.live.Get(ctx, req.NamespacedName, m); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if isOver(m) {
		return ctrl.Result{}, r.finish(ctx, m)
	}
	rivals, err := r.sameResource(ctx, m)
	if err != nil || !isNext(m, rivals) {
		return ctrl.Result{}, err
	}
	if err := r.begin(ctx, m); err != nil {
		return ctrl.Result{}, err
	}
	end, err := r.migrate(ctx, m)
	if errors.Is(err, errNotServed) {
		if r.Clock.Since(m.CreationTimestamp.Time) < appearTime {
			return ctrl.Result{RequeueAfter: appearPause}, nil
		}
		end, err = verdict{errNotServed.Error()}, nil
	}
	if err != nil {
		return ctrl.Result{}, err
	}
	conclude(m, end)
	return ctrl.Result{}, r.writeStatus(ctx, m)
}

// begin says that a migration runs, on the definition of its custom resource
// first.
func (r *Reconciler) begin(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) error {
	if is(m, storagemigrationv1.MigrationRunning) {
		return nil
	}
	if err := r.markDefinition(ctx, m); err != nil {
		return err
	}
	apimeta.SetStatusCondition(&m.Status.Conditions, metav1.Condition{
		Type: string(storagemigrationv1.MigrationRunning), Status: metav1.ConditionTrue, Reason: "MigrationRunning", Message: "The migration is running",
	})
	return r.writeStatus(ctx, m)
}

// finish takes back what begin said.
func (r *Reconciler) finish(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) error {
	if apimeta.FindStatusCondition(m.Status.Conditions, string(storagemigrationv1.MigrationRunning)) == nil {
		return nil
	}
	if err := r.releaseDefinition(ctx, m); err != nil {
		return err
	}
	apimeta.RemoveStatusCondition(&m.Status.Conditions, string(storagemigrationv1.MigrationRunning))
	return r.writeStatus(ctx, m)
}

func (r *Reconciler) writeStatus(ctx context.Context, m *storagemigrationv1.StorageVersionMigration) error {
	if err := r.Client.Status().Update(ctx, m); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("write status of migration %s: %w", klog.KObj(m), err)
	}
	return nil
}

// verdict is how a migration ended; an empty failure is success.
type verdict struct{ failure string }

func conclude(m *storagemigrationv1.StorageVersionMigration, v verdict) {
	end := metav1.Condition{Type: string(storagemigrationv1.MigrationSucceeded), Status: metav1.ConditionTrue, Reason: "StorageVersionMigrationSucceeded"}
	if v.failure != "" {
		end.Type, end.Reason, end.Message = string(storagemigrationv1.MigrationFailed), "StorageVersionMigrationFailed", v.failure
	}
	if running := apimeta.FindStatusCondition(m.Status.Conditions, string(storagemigrationv1.MigrationRunning)); running != nil {
		stopped := *running
		stopped.Status = metav1.ConditionFalse
		apimeta.SetStatusCondition(&m.Status.Conditions, stopped)
	}
	apimeta.SetStatusCondition(&m.Status.Conditions, end)
}

func is(m *storagemigrationv1.StorageVersionMigration, t storagemigrationv1.MigrationConditionType) bool {
	return apimeta.IsStatusConditionTrue(m.Status.Conditions, string(t))
}

func isOver(m *storagemigrationv1.StorageVersionMigration) bool {
	return is(m, storagemigrationv1.MigrationSucceeded) || is(m, storagemigrationv1.MigrationFailed)
}

// isNext tells whether a migration runs or may begin: it is the oldest of those
// that have not ended, and what the last one said is taken back.
func isNext(m *storagemigrationv1.StorageVersionMigration, rivals []storagemigrationv1.StorageVersionMigration) bool {
	if is(m, storagemigrationv1.MigrationRunning) {
		return true
	}
	for i := range rivals {
		other := &rivals[i]
		if other.Name == m.Name {
			continue
		}
		if apimeta.FindStatusCondition(other.Status.Conditions, string(storagemigrationv1.MigrationRunning)) != nil || !isOver(other) && isBefore(other, m) {
			return false
		}
	}
	return true
}

func isBefore(a, b *storagemigrationv1.StorageVersionMigration) bool {
	if a.CreationTimestamp.Equal(&b.CreationTimestamp) {
		return a.Name < b.Name
	}
	return a.CreationTimestamp.Before(&b.CreationTimestamp)
}

func resourceOf(m *storagemigrationv1.StorageVersionMigration) schema.GroupVersionResource {
	return schema.GroupResource{Group: m.Spec.Resource.Group, Resource: m.Spec.Resource.Resource}.WithVersion("")
}
