package persistentvolume

import (
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	"github.com/skiffcluster/skiff/controllers/peek"
	"github.com/skiffcluster/skiff/controllers/podctl"
	"github.com/skiffcluster/skiff/controllers/turn"
	"github.com/skiffcluster/skiff/internal/consistency"
)

// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;update
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims/status,verbs=update
// +kubebuilder:rbac:groups="",resources=persistentvolumes,verbs=get;list;watch;update
// +kubebuilder:rbac:groups="",resources=persistentvolumes/status,verbs=update
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch;update

// Reconciler binds claims; its other half, [volumes], looks after volumes.
type Reconciler struct {
	Client client.Client
	Events events.EventRecorder

	live    client.Reader // the server itself, not the cache
	claims  peek.Store[*corev1.PersistentVolumeClaim]
	volumes peek.Store[*corev1.PersistentVolume]
	classes peek.Store[*storagev1.StorageClass]
	pods    peek.Store[*corev1.Pod]

	// writes are those of a claim's turn: to claims and to volumes.
	claimWrites, volumeWrites *consistency.Tracker
}

// SetupWithManager adds both controllers to mgr: a claim has a turn when it
// changes, when a volume that names it does, and, while it has none, whenever
// a volume or its class may have come.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	ctx := context.Background() // nothing below outlives this call
	r.live = mgr.GetAPIReader()
	var errs [6]error
	r.claims, errs[0] = peek.At(mgr, &corev1.PersistentVolumeClaim{})
	r.volumes, errs[1] = peek.At(mgr, &corev1.PersistentVolume{})
	r.classes, errs[2] = peek.At(mgr, &storagev1.StorageClass{})
	r.pods, errs[3] = peek.At(mgr, &corev1.Pod{})
	r.claimWrites, errs[4] = podctl.Track(ctx, mgr, &corev1.PersistentVolumeClaim{})
	r.volumeWrites, errs[5] = podctl.Track(ctx, mgr, &corev1.PersistentVolume{})
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	err := turn.NewController(mgr).
		Named("persistentvolume-binder-controller").
		For(&corev1.PersistentVolumeClaim{}).
		Watches(&corev1.PersistentVolume{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []ctrl.Request {
			v, ok := obj.(*corev1.PersistentVolume)
			switch {
			case !ok:
				return nil
			case v.Spec.ClaimRef != nil:
				return []ctrl.Request{{NamespacedName: claimKey(v)}}
			case v.Status.Phase != corev1.VolumeAvailable:
				return nil // it will be
			}
			return r.waiting(volume.GetPersistentVolumeClass(v))
		})).
		Watches(&storagev1.StorageClass{}, handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []ctrl.Request {
			return r.waiting(obj.GetName())
		})).
		Complete(r)
	if err != nil {
		return err
	}
	return (&volumes{Reconciler: r}).setupWithManager(mgr)
}

// waiting are the claims of a class that have no volume.
func (r *Reconciler) waiting(class string) []ctrl.Request {
	var requests []ctrl.Request
	for _, claim := range r.claims.List() {
		if claim.Spec.VolumeName == "" && volume.GetPersistentVolumeClaimClass(claim) == class {
			requests = append(requests, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(claim)})
		}
	}
	return requests
}

func claimKey(v *corev1.PersistentVolume) client.ObjectKey {
	return client.ObjectKey{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name}
}

// Reconcile runs one turn for one claim.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	if err := errors.Join(r.claimWrites.Wait(ctx, req.NamespacedName), r.volumeWrites.Wait(ctx, req.NamespacedName)); err != nil {
		return ctrl.Result{}, err
	}
	cached, ok := r.claims.Get(req.NamespacedName)
	if !ok {
		r.claimWrites.Forget(req.NamespacedName)
		r.volumeWrites.Forget(req.NamespacedName)
		return ctrl.Result{}, nil
	}
	claim := cached.DeepCopy()
	var err error
	if metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted) {
		err = r.keep(ctx, claim)
	} else {
		err = r.bindNew(ctx, claim)
	}
	if apierrors.IsConflict(err) {
		// The cache is behind; what it will learn starts a turn, or this does.
		klog.FromContext(ctx).V(1).Info("Claim is bound in the next turn, an object has changed", "PersistentVolumeClaim", req.NamespacedName)
		return ctrl.Result{RequeueAfter: turn.Conflict}, nil
	}
	return ctrl.Result{}, err
}

// keep looks after a claim that was bound.
func (r *Reconciler) keep(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName == "" {
		return r.lose(ctx, claim, "ClaimLost", "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!")
	}
	v, ok := r.volumes.Get(client.ObjectKey{Name: claim.Spec.VolumeName})
	switch {
	case !ok:
		return r.lose(ctx, claim, "ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!")
	case v.Spec.ClaimRef == nil || v.Spec.ClaimRef.UID == claim.UID:
		return r.bind(ctx, claim, v)
	}
	return r.lose(ctx, claim, "ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
}

func (r *Reconciler) lose(ctx context.Context, claim *corev1.PersistentVolumeClaim, reason, message string) error {
	if claim.Status.Phase != corev1.ClaimLost {
		r.Events.Eventf(claim, nil, corev1.EventTypeWarning, reason, "Bind", "%s", message)
	}
	return r.writeStatus(ctx, claim, corev1.ClaimLost, nil)
}

// bindNew finds a volume for a claim that has none, or gets one made.
func (r *Reconciler) bindNew(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" {
		return r.bindNamed(ctx, claim)
	}
	class, classFound := r.classes.Get(client.ObjectKey{Name: volume.GetPersistentVolumeClaimClass(claim)})
	waits := classFound && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
	found, err := findVolume(claim, r.volumes.List(), waits)
	if err != nil {
		return fmt.Errorf("find a volume for claim %s: %w", klog.KObj(claim), err)
	}
	if found != nil {
		return r.bind(ctx, claim, found)
	}
	switch {
	case waits && !volume.IsDelayBindingProvisioning(claim):
		r.tellWaiting(claim)
	case volume.GetPersistentVolumeClaimClass(claim) == "":
		r.tell(claim, "FailedBinding", "no persistent volumes available for this claim and no storage class is set")
	case !classFound:
		r.warn(claim, "ProvisioningFailed", "storageclass.storage.k8s.io %q not found", volume.GetPersistentVolumeClaimClass(claim))
	case strings.HasPrefix(class.Provisioner, "kubernetes.io/"):
		r.warn(claim, "ProvisioningFailed", "no volume plugin matched name: %s", class.Provisioner)
	default:
		if err := r.provision(ctx, claim, class.Provisioner); err != nil {
			return err
		}
	}
	return r.writeStatus(ctx, claim, corev1.ClaimPending, nil)
}

// bindNamed binds a claim to the volume that its author chose.
func (r *Reconciler) bindNamed(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	v, ok := r.volumes.Get(client.ObjectKey{Name: claim.Spec.VolumeName})
	switch {
	case !ok:
		return r.writeStatus(ctx, claim, corev1.ClaimPending, nil)
	case v.Spec.ClaimRef == nil:
		if err := mismatch(claim, v); err != nil {
			r.warn(claim, "VolumeMismatch", "Cannot bind to requested volume %q: %s", v.Name, err)
			return r.writeStatus(ctx, claim, corev1.ClaimPending, nil)
		}
		return r.bind(ctx, claim, v)
	case volume.IsVolumeBoundToClaim(v, claim):
		return r.bind(ctx, claim, v)
	}
	r.warn(claim, "FailedBinding", "volume %q already bound to a different claim.", v.Name)
	return r.writeStatus(ctx, claim, corev1.ClaimPending, nil)
}

// bind does what is missing of a binding: volume, claim, status.
func (r *Reconciler) bind(ctx context.Context, claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	key := client.ObjectKeyFromObject(claim)
	bound, dirty, err := volume.GetBindVolumeToClaim(v, claim)
	if err != nil {
		return fmt.Errorf("bind volume %s: %w", v.Name, err)
	}
	if dirty {
		if err := r.Client.Update(ctx, bound); err != nil {
			return fmt.Errorf("bind volume %s to claim %s: %w", v.Name, key, err)
		}
		r.volumeWrites.Wrote(key, bound)
	}
	if phase := bound.Status.Phase; phase != corev1.VolumeBound {
		bound.Status.Phase, bound.Status.Reason, bound.Status.Message = corev1.VolumeBound, "", ""
		if err := r.Client.Status().Update(ctx, bound); err != nil {
			return fmt.Errorf("update status of volume %s: %w", v.Name, err)
		}
		r.volumeWrites.Wrote(key, bound)
	}
	before := claim.DeepCopy()
	if claim.Spec.VolumeName != v.Name {
		claim.Spec.VolumeName = v.Name
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnBoundByController, "yes")
	}
	metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnBindCompleted, "yes")
	if !apiequality.Semantic.DeepEqual(before, claim) {
		if err := r.Client.Update(ctx, claim); err != nil {
			return fmt.Errorf("bind claim %s to volume %s: %w", key, v.Name, err)
		}
		r.claimWrites.Wrote(key, claim)
	}
	return r.writeStatus(ctx, claim, corev1.ClaimBound, bound)
}

// provision asks a provisioner outside of this process for a volume, which it
// makes with the claim's name in it.
func (r *Reconciler) provision(ctx context.Context, claim *corev1.PersistentVolumeClaim, provisioner string) error {
	if claim.Annotations[volume.AnnStorageProvisioner] != provisioner || claim.Annotations[volume.AnnBetaStorageProvisioner] != provisioner {
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnStorageProvisioner, provisioner)
		metav1.SetMetaDataAnnotation(&claim.ObjectMeta, volume.AnnBetaStorageProvisioner, provisioner)
		if err := r.Client.Update(ctx, claim); err != nil {
			return fmt.Errorf("ask for a volume for claim %s: %w", klog.KObj(claim), err)
		}
		r.claimWrites.Wrote(client.ObjectKeyFromObject(claim), claim)
	}
	r.tell(claim, "ExternalProvisioning", "Waiting for a volume to be created either by the external provisioner '%s' or manually by the system administrator. "+
		"If volume creation is delayed, please verify that the provisioner is running and correctly registered.", provisioner)
	return nil
}

// tellWaiting says what a claim waits for whose volume depends on a pod's node.
func (r *Reconciler) tellWaiting(claim *corev1.PersistentVolumeClaim) {
	for _, pod := range r.pods.List() {
		if podctl.IsActive(pod) && pod.Spec.NodeName == "" && podctl.UsesClaim(pod, claim) {
			r.tell(claim, "WaitForPodScheduled", "waiting for pod %s to be scheduled", pod.Name)
			return
		}
	}
	r.tell(claim, "WaitForFirstConsumer", "waiting for first consumer to be created before binding")
}

func (r *Reconciler) tell(claim *corev1.PersistentVolumeClaim, reason, format string, args ...any) {
	r.Events.Eventf(claim, nil, corev1.EventTypeNormal, reason, "Bind", format, args...)
}

func (r *Reconciler) warn(claim *corev1.PersistentVolumeClaim, reason, format string, args ...any) {
	r.Events.Eventf(claim, nil, corev1.EventTypeWarning, reason, "Bind", format, args...)
}

// writeStatus writes a claim's status if it differs from the server's.
func (r *Reconciler) writeStatus(ctx context.Context, claim *corev1.PersistentVolumeClaim, phase corev1.PersistentVolumeClaimPhase, v *corev1.PersistentVolume) error {
	status := planClaimStatus(claim.Status, phase, v)
	if apiequality.Semantic.DeepEqual(claim.Status, status) {
		return nil
	}
	claim.Status = status
	if err := r.Client.Status().Update(ctx, claim); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("update status of claim %s: %w", klog.KObj(claim), err)
	}
	r.claimWrites.Wrote(client.ObjectKeyFromObject(claim), claim)
	return nil
}
