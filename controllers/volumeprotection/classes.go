package volumeprotection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skiffcluster/skiff/controllers/turn"
)

// ClassFinalizer is what holds VolumeAttributesClasses.
const ClassFinalizer = "kubernetes.io/vac-protection"

// +kubebuilder:rbac:groups=storage.k8s.io,resources=volumeattributesclasses,verbs=get;list;watch;update

// Classes protects VolumeAttributesClasses. As upstream's it asks the cache
// alone: a class that is deleted in the moment in which its first claim is
// created may go.
type Classes struct {
	Client client.Client
}

// SetupWithManager adds the controller to mgr: only a claim or a volume that goes,
// or changes its class, may free one.
func (r *Classes) SetupWithManager(mgr ctrl.Manager) error {
	return turn.NewController(mgr).
		Named("volumeattributesclass-protection-controller").
		For(&storagev1.VolumeAttributesClass{}).
		Watches(&corev1.PersistentVolumeClaim{}, freed).
		Watches(&corev1.PersistentVolume{}, freed).
		Complete(r)
}

// freed starts a turn for each class that an object does not name any more.
var freed = handler.Funcs{
	UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
		now := classesOf(e.ObjectNew)
		for _, name := range classesOf(e.ObjectOld) {
			if !slices.Contains(now, name) {
				q.Add(ctrl.Request{NamespacedName: client.ObjectKey{Name: name}})
			}
		}
	},
	DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) {
		for _, name := range classesOf(e.Object) {
			q.Add(ctrl.Request{NamespacedName: client.ObjectKey{Name: name}})
		}
	},
}

// Reconcile runs one turn for one class.
func (r *Classes) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	class := &storagev1.VolumeAttributesClass{}
	if err := r.Client.Get(ctx, req.NamespacedName, class); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if class.DeletionTimestamp != nil && controllerutil.ContainsFinalizer(class, ClassFinalizer) {
		used, err := r.isNamed(ctx, class.Name)
		if err != nil || used {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, keepFinalizer(ctx, r.Client, class, ClassFinalizer, class.DeletionTimestamp == nil)
}

// isNamed tells whether a claim or a volume names a class.
func (r *Classes) isNamed(ctx context.Context, class string) (bool, error) {
	var claims corev1.PersistentVolumeClaimList
	if err := r.Client.List(ctx, &claims, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list claims that may use class %s: %w", class, err)
	}
	for i := range claims.Items {
		if slices.Contains(classesOf(&claims.Items[i]), class) {
			return true, nil
		}
	}
	var volumes corev1.PersistentVolumeList
	if err := r.Client.List(ctx, &volumes, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("list volumes that may use class %s: %w", class, err)
	}
	for i := range volumes.Items {
		if slices.Contains(classesOf(&volumes.Items[i]), class) {
			return true, nil
		}
	}
	return false, nil
}

// classesOf are the classes that a claim wants, has and changes to, or that of a
// volume.
func classesOf(object client.Object) []string {
	var names []string
	switch o := object.(type) {
	case *corev1.PersistentVolumeClaim:
		names = append(names, ptr.Deref(o.Spec.VolumeAttributesClassName, ""), ptr.Deref(o.Status.CurrentVolumeAttributesClassName, ""))
		if s := o.Status.ModifyVolumeStatus; s != nil {
			names = append(names, s.TargetVolumeAttributesClassName)
		}
	case *corev1.PersistentVolume:
		names = append(names, ptr.Deref(o.Spec.VolumeAttributesClassName, ""))
	}
	return slices.DeleteFunc(names, func(name string) bool { return name == "" })
}
