package job

import (
	"context"
	"encoding/json"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/skiffcluster/skiff/controllers/ownership"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
)

// strays frees pods that no Job counts any more, since it is gone or finished
// or has released them, from the finalizer. A turn is about one pod.
type strays struct {
	client client.Client
	live   client.Reader // the server itself: a cache may not know a Job yet
}

func (s *strays) setup(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("job-stray-pods").
		Watches(&corev1.Pod{}, &handler.EnqueueRequestForObject{}, builder.WithPredicates(predicate.NewPredicateFuncs(s.isStrayObject))).
		Watches(&batchv1.Job{}, handler.Funcs{DeleteFunc: s.jobGone}).
		Complete(reconcile.Func(s.Reconcile))
}

// Reconcile frees one pod.
func (s *strays) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	pod := &corev1.Pod{}
	if err := s.client.Get(ctx, req.NamespacedName, pod); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !isStray(ctx, s.live, pod) {
		return ctrl.Result{}, nil
	}
	klog.FromContext(ctx).Info("Pod without a Job loses its finalizer", "Pod", klog.KObj(pod))
	_, err := dropFinalizer(ctx, s.client, pod)
	return ctrl.Result{}, err
}

func (s *strays) isStrayObject(obj client.Object) bool {
	pod, ok := obj.(*corev1.Pod)
	return ok && isStray(context.Background(), s.client, pod)
}

// isStray tells whether a pod has the finalizer and nobody to remove it.
func isStray(ctx context.Context, reader client.Reader, pod *corev1.Pod) bool {
	if !isTracked(pod) {
		return false
	}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil || owner.Kind != kind.Kind || owner.APIVersion != batchv1.SchemeGroupVersion.String() {
		return true
	}
	var job batchv1.Job
	err := reader.Get(ctx, client.ObjectKey{Namespace: pod.Namespace, Name: owner.Name}, &job)
	switch {
	case apierrors.IsNotFound(err):
		return true
	case err != nil:
		return false
	case job.UID != owner.UID:
		return true
	}
	return isFinished(&job) && ptr.Deref(job.Spec.ManagedBy, batchv1.JobControllerName) == batchv1.JobControllerName
}

func (s *strays) jobGone(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[ctrl.Request]) {
	var list corev1.PodList
	if err := ownership.List(ctx, s.client, &list, e.Object.GetNamespace(), e.Object.GetUID()); err != nil {
		klog.FromContext(ctx).Error(err, "Cannot look for the pods of a Job that is gone", "Job", klog.KObj(e.Object))
		return
	}
	for _, pod := range podctl.Items(&list) {
		if isTracked(pod) {
			q.Add(ctrl.Request{NamespacedName: client.ObjectKeyFromObject(pod)})
		}
	}
}

// dropFinalizer removes the finalizer from a pod and returns it as the server
// has it; nil when it is gone or has no such finalizer.
func dropFinalizer(ctx context.Context, c client.Client, pod *corev1.Pod) (*corev1.Pod, error) {
	if !isTracked(pod) {
		return nil, nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":                                 pod.UID,
		"$deleteFromPrimitiveList/finalizers": []string{batchv1.JobTrackingFinalizer},
	}})
	if err != nil {
		return nil, fmt.Errorf("encode finalizer patch: %w", err)
	}
	patched := pod.DeepCopy()
	err = c.Patch(ctx, patched, client.RawPatch(types.StrategicMergePatchType, body))
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("remove finalizer of pod %s: %w", klog.KObj(pod), err)
	}
	return patched, nil
}
