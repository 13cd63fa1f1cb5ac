package attachdetach

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/skiffcluster/skiff/controllers/peek"
	"github.com/skiffcluster/skiff/controllers/podctl"
	turns "github.com/skiffcluster/skiff/controllers/turn"
)

// Indexes of the pods that have volumes of claims.
const (
	podsByNode  = "nodeOfClaims"
	podsByClaim = "claim"
)

// SetupWithManager adds the controller to mgr: a node has a turn when anything
// that the plan looks at changes.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	r.live, r.memory = mgr.GetAPIReader(), map[string]*memory{}
	if err := errors.Join(r.openStores(mgr), indexPods(mgr)); err != nil {
		return err
	}
	nodes := func(f func(context.Context, client.Object) []string) handler.EventHandler {
		return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) []ctrl.Request {
			return requests(f(ctx, obj))
		})
	}
	return turns.NewController(mgr).
		Named("persistentvolume-attach-detach-controller").
		For(&corev1.Node{}, builder.WithPredicates(changed(sameNode))).
		Watches(&corev1.Pod{}, nodes(nodeOfPod), builder.WithPredicates(changed(samePod))).
		Watches(&corev1.PersistentVolumeClaim{}, nodes(r.nodesOfClaim), builder.WithPredicates(changed(sameClaim))).
		Watches(&corev1.PersistentVolume{}, nodes(r.nodesOfVolume), builder.WithPredicates(changed(sameVolume))).
		Watches(&storagev1.CSIDriver{}, nodes(r.nodesWithClaims)).
		Watches(&storagev1.VolumeAttachment{}, nodes(r.nodesOfAttachment)).
		// One at a time: see turn.
		WithOptions(turns.WithQueue(controller.Options{MaxConcurrentReconciles: 1})).
		Complete(r)
}

func (r *Reconciler) openStores(mgr ctrl.Manager) error {
	ctx := context.Background() // nothing below outlives this call
	var errs [8]error
	r.pods, errs[0] = peek.At(mgr, &corev1.Pod{})
	r.claims, errs[1] = peek.At(mgr, &corev1.PersistentVolumeClaim{})
	r.volumes, errs[2] = peek.At(mgr, &corev1.PersistentVolume{})
	r.drivers, errs[3] = peek.At(mgr, &storagev1.CSIDriver{})
	r.nodes, errs[4] = peek.At(mgr, &corev1.Node{})
	r.attachments, errs[5] = peek.At(mgr, &storagev1.VolumeAttachment{})
	r.nodeWrites, errs[6] = podctl.Track(ctx, mgr, &corev1.Node{})
	r.attachmentWrites, errs[7] = podctl.Track(ctx, mgr, &storagev1.VolumeAttachment{})
	return errors.Join(errs[:]...)
}

func indexPods(mgr ctrl.Manager) error {
	for field, values := range map[string]func(*corev1.Pod) []string{
		podsByNode: func(pod *corev1.Pod) []string {
			if len(nodeOfPod(context.Background(), pod)) == 0 {
				return nil
			}
			return []string{pod.Spec.NodeName}
		},
		podsByClaim: podctl.ClaimNames,
	} {
		err := mgr.GetFieldIndexer().IndexField(context.Background(), &corev1.Pod{}, field, func(obj client.Object) []string {
			if pod, ok := obj.(*corev1.Pod); ok {
				return values(pod)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("index pods by %s: %w", field, err)
		}
	}
	return nil
}

// changed lets updates pass by that change nothing the plan looks at.
func changed[T client.Object](same func(before, after T) bool) predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, ok1 := e.ObjectOld.(T)
		after, ok2 := e.ObjectNew.(T)
		return ok1 && ok2 && !same(before, after)
	}}
}

func sameNode(before, after *corev1.Node) bool {
	return managed(before) == managed(after) && before.Annotations[keepTerminatedAnnotation] == after.Annotations[keepTerminatedAnnotation] &&
		isReady(before) == isReady(after) && isOutOfService(before) == isOutOfService(after) &&
		slices.Equal(before.Status.VolumesInUse, after.Status.VolumesInUse) && slices.Equal(before.Status.VolumesAttached, after.Status.VolumesAttached)
}

func samePod(before, after *corev1.Pod) bool {
	return before.UID == after.UID && before.Spec.NodeName == after.Spec.NodeName && holdsVolumes(before, false) == holdsVolumes(after, false)
}

func sameClaim(before, after *corev1.PersistentVolumeClaim) bool {
	return before.UID == after.UID && before.Spec.VolumeName == after.Spec.VolumeName && before.Status.Phase == after.Status.Phase
}

func sameVolume(before, after *corev1.PersistentVolume) bool {
	return apiequality.Semantic.DeepEqual(before.Spec, after.Spec)
}

// nodeOfPod is where a pod needs its claims' volumes.
func nodeOfPod(_ context.Context, obj client.Object) []string {
	pod, ok := obj.(*corev1.Pod)
	if !ok || pod.Spec.NodeName == "" || len(podctl.ClaimNames(pod)) == 0 {
		return nil
	}
	return []string{pod.Spec.NodeName}
}

func (r *Reconciler) nodesOfClaim(ctx context.Context, obj client.Object) []string {
	return r.nodesUsing(ctx, client.ObjectKeyFromObject(obj))
}

func (r *Reconciler) nodesOfVolume(ctx context.Context, obj client.Object) []string {
	v, ok := obj.(*corev1.PersistentVolume)
	if !ok || v.Spec.ClaimRef == nil {
		return nil
	}
	return r.nodesUsing(ctx, client.ObjectKey{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name})
}

// nodesOfAttachment are its own, and those that may wait for it to go.
func (r *Reconciler) nodesOfAttachment(ctx context.Context, obj client.Object) []string {
	a, ok := obj.(*storagev1.VolumeAttachment)
	if !ok {
		return nil
	}
	nodes := []string{a.Spec.NodeName}
	if pv, found := r.attached(a); found && pv != nil {
		nodes = append(nodes, r.nodesOfVolume(ctx, pv)...)
	}
	return nodes
}

func (r *Reconciler) nodesUsing(ctx context.Context, claim client.ObjectKey) []string {
	pods, err := r.podsOf(ctx, client.MatchingFields{podsByClaim: claim.Name}, client.InNamespace(claim.Namespace))
	if err != nil {
		return nil // the cache is stopping
	}
	var nodes []string
	for _, pod := range pods {
		nodes = append(nodes, nodeOfPod(ctx, pod)...)
	}
	return nodes
}

// nodesWithClaims are all that a driver may concern.
func (r *Reconciler) nodesWithClaims(ctx context.Context, _ client.Object) []string {
	var nodes []string
	for _, pod := range r.pods.List() {
		nodes = append(nodes, nodeOfPod(ctx, pod)...)
	}
	return nodes
}

func requests(nodes []string) []ctrl.Request {
	slices.Sort(nodes)
	out := make([]ctrl.Request, 0, len(nodes))
	for _, name := range slices.Compact(nodes) {
		out = append(out, ctrl.Request{NamespacedName: client.ObjectKey{Name: name}})
	}
	return out
}
