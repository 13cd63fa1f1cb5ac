package resourcequota

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/skiffcluster/skiff/controllers/turn"
)

const (
	// resync is the time after which a quota is counted again without a reason
	// (upstream's --resource-quota-sync-period).
	resync = 5 * time.Minute

	// settle is how long a quota waits to be counted again after something was
	// created, which the API server has counted itself: many come at once.
	settle = time.Second
)

// +kubebuilder:rbac:groups="",resources=resourcequotas,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=resourcequotas/status,verbs=update
// +kubebuilder:rbac:groups=*,resources=*,verbs=list;watch

// Reconciler keeps the status of each ResourceQuota.
type Reconciler struct {
	Client client.Client

	cache   cache.Cache
	mapper  mapper
	queue   queue
	watched watched
}

type queue = workqueue.TypedRateLimitingInterface[ctrl.Request]

// mapper tells the kind of a resource.
type mapper interface {
	KindFor(resource schema.GroupVersionResource) (schema.GroupVersionKind, error)
}

// SetupWithManager adds the controller to mgr. What quotas are about is watched
// from the first quota on that names it.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.cache, r.mapper = mgr.GetCache(), mgr.GetRESTMapper()
	changed := predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, is := e.ObjectOld.(*corev1.ResourceQuota)
		after, isToo := e.ObjectNew.(*corev1.ResourceQuota)
		return is && isToo && needsCount(before, after)
	}}
	return turn.NewController(mgr).
		Named("resourcequota-controller").
		For(&corev1.ResourceQuota{}, builder.WithPredicates(changed)).
		WatchesRawSource(source.Func(func(_ context.Context, q queue) error {
			r.queue = q // sources start before the first turn
			return nil
		})).
		Complete(r)
}

// Reconcile counts for one quota.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	q := &corev1.ResourceQuota{}
	if err := r.Client.Get(ctx, req.NamespacedName, q); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	used, err := r.usage(ctx, q)
	status := planStatus(q, used)
	if !apiequality.Semantic.DeepEqual(q.Status, status) {
		q.Status = status
		if writeErr := r.Client.Status().Update(ctx, q); writeErr != nil && !apierrors.IsNotFound(writeErr) {
			if apierrors.IsConflict(writeErr) {
				return ctrl.Result{RequeueAfter: settle}, err // the API server has let something in
			}
			err = errors.Join(err, fmt.Errorf("update status of quota %s: %w", klog.KObj(q), writeErr))
		}
	}
	return ctrl.Result{RequeueAfter: resync}, err
}

// planStatus is a quota's status after a count. What could not be counted keeps
// what was known of it.
func planStatus(q *corev1.ResourceQuota, counted corev1.ResourceList) corev1.ResourceQuotaStatus {
	used := quota.Add(corev1.ResourceList{}, q.Status.Used)
	for name, amount := range counted {
		used[name] = amount
	}
	hard := quota.Add(corev1.ResourceList{}, q.Spec.Hard)
	return corev1.ResourceQuotaStatus{Hard: hard, Used: quota.Mask(used, quota.ResourceNames(hard))}
}

// needsCount tells whether an update of a quota starts a turn. New amounts in
// status.used don't: the API server writes them as it lets something in, which
// this cache may not show yet, and to count at that moment is to count too
// little. It never changes status.hard, nor takes an amount away: what another
// writer has done to those is mended at once, where kube-controller-manager
// leaves it until its next resync.
func needsCount(before, after *corev1.ResourceQuota) bool {
	if before.UID != after.UID || !apiequality.Semantic.DeepEqual(before.Spec, after.Spec) {
		return true
	}
	if apiequality.Semantic.DeepEqual(before.Status.Hard, before.Spec.Hard) && !apiequality.Semantic.DeepEqual(after.Status.Hard, after.Spec.Hard) {
		return true
	}
	lost := quota.Difference(quota.ResourceNames(before.Status.Used), quota.ResourceNames(after.Status.Used))
	return len(quota.Intersection(lost, quota.ResourceNames(after.Spec.Hard))) > 0
}

// enqueue starts a turn for the quotas of a namespace after some time.
func (r *Reconciler) enqueue(ctx context.Context, namespace string, after time.Duration) {
	var list corev1.ResourceQuotaList
	if err := r.Client.List(ctx, &list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot look for quotas", "Namespace", klog.KRef("", namespace))
		return
	}
	for i := range list.Items {
		r.queue.AddAfter(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(&list.Items[i])}, after)
	}
}
