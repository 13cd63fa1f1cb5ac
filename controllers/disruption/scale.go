package disruption

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// scale is how many pods there should be, by what controls them.
type scale struct {
	replicas  int32
	unmanaged int // pods that nothing controls
}

// scaleOf adds up the scale of everything that controls one of the pods.
func (r *Reconciler) scaleOf(ctx context.Context, pods []*corev1.Pod) (scale, error) {
	var sum scale
	seen := map[types.UID]bool{}
	for _, pod := range pods {
		ref := metav1.GetControllerOfNoCopy(pod)
		if ref == nil {
			sum.unmanaged++
			continue
		}
		if seen[ref.UID] {
			continue
		}
		seen[ref.UID] = true
		uid, replicas, found, err := r.replicasOf(ctx, pod.Namespace, ref)
		if err != nil {
			return scale{}, err
		}
		if !found {
			return scale{}, fmt.Errorf("found no controllers for pod %q", pod.Name)
		}
		// The ReplicaSets of one Deployment count once.
		if uid == ref.UID || !seen[uid] {
			sum.replicas += replicas
		}
		seen[uid] = true
	}
	return sum, nil
}

// replicasOf is the scale of what ref names, or of the Deployment behind that.
// found is false when it does not exist, or is another object by now.
func (r *Reconciler) replicasOf(ctx context.Context, namespace string, ref *metav1.OwnerReference) (uid types.UID, replicas int32, found bool, err error) {
	group, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", 0, false, err
	}
	key := client.ObjectKey{Namespace: namespace, Name: ref.Name}
	var object client.Object
	var count func() *int32
	switch (schema.GroupKind{Group: group.Group, Kind: ref.Kind}) {
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "ReplicaSet"}:
		set := &appsv1.ReplicaSet{}
		object, count = set, func() *int32 { return set.Spec.Replicas }
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "Deployment"}:
		deployment := &appsv1.Deployment{}
		object, count = deployment, func() *int32 { return deployment.Spec.Replicas }
	case schema.GroupKind{Group: appsv1.GroupName, Kind: "StatefulSet"}:
		set := &appsv1.StatefulSet{}
		object, count = set, func() *int32 { return set.Spec.Replicas }
	case schema.GroupKind{Kind: "ReplicationController"}:
		controller := &corev1.ReplicationController{}
		object, count = controller, func() *int32 { return controller.Spec.Replicas }
	default:
		return r.otherReplicas(ctx, key, group.WithKind(ref.Kind), ref.UID)
	}
	if err := r.Client.Get(ctx, key, object); err != nil {
		return "", 0, false, client.IgnoreNotFound(err)
	}
	if object.GetUID() != ref.UID {
		return "", 0, false, nil
	}
	if owner := metav1.GetControllerOfNoCopy(object); ref.Kind == "ReplicaSet" && owner != nil && owner.Kind == "Deployment" {
		return r.replicasOf(ctx, namespace, owner)
	}
	replicas = 1 // the default of all four
	if n := count(); n != nil {
		replicas = *n
	}
	return object.GetUID(), replicas, true, nil
}

// otherReplicas asks for the scale subresource of any other kind.
func (r *Reconciler) otherReplicas(ctx context.Context, key client.ObjectKey, kind schema.GroupVersionKind, want types.UID) (types.UID, int32, bool, error) {
	owner, answer := &unstructured.Unstructured{}, &unstructured.Unstructured{}
	owner.SetGroupVersionKind(kind)
	owner.SetNamespace(key.Namespace)
	owner.SetName(key.Name)
	err := r.Client.SubResource("scale").Get(ctx, owner, answer)
	switch {
	case apierrors.IsNotFound(err) && missesObject(err, key.Name):
		return "", 0, false, nil
	case apierrors.IsNotFound(err):
		mapping, mapErr := r.Client.RESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
		if mapErr != nil {
			return "", 0, false, mapErr
		}
		return "", 0, false, fmt.Errorf("%s does not implement the scale subresource", mapping.Resource.GroupResource())
	case err != nil:
		return "", 0, false, err
	case answer.GetUID() != want:
		return "", 0, false, nil
	}
	replicas, _, err := unstructured.NestedInt64(answer.Object, "spec", "replicas")
	if err != nil {
		return "", 0, false, fmt.Errorf("read scale of %s %s: %w", kind.Kind, key, err)
	}
	return answer.GetUID(), int32(replicas), true, nil
}

// missesObject tells an object that is gone from a subresource that the server
// does not serve at all: only the first answer names the object.
func missesObject(err error, name string) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Name == name && len(status.Status().Details.Causes) == 0
}
