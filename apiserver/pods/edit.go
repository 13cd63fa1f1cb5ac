package pods

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/api/core"
)

// edit is a subresource that changes one part of a pod's spec.
type edit struct{ store *genericregistry.Store }

// part is the part: what of a changed pod is kept, and whether that is valid.
type part interface {
	keep(obj, old *corev1.Pod)
	validate(obj, old *corev1.Pod) field.ErrorList
}

func newEdit(pods *genericregistry.Store, p part) *edit {
	s := *pods
	s.UpdateStrategy = editStrategy{pods.UpdateStrategy, p}
	return &edit{&s}
}

func (e *edit) New() runtime.Object { return &corev1.Pod{} }
func (e *edit) Destroy()            {}

func (e *edit) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return e.store.Get(ctx, name, o)
}

func (e *edit) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	return e.store.Update(ctx, name, info, create, update, false, o)
}

// editStrategy keeps all of the old pod but the part.
type editStrategy struct {
	rest.RESTUpdateStrategy
	part part
}

func (s editStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	pod, before := obj.(*corev1.Pod), old.(*corev1.Pod)
	changed := pod.DeepCopy()
	meta := pod.ObjectMeta
	before.DeepCopyInto(pod)
	pod.ManagedFields, pod.ResourceVersion = meta.ManagedFields, meta.ResourceVersion
	s.part.keep(changed, pod)
	if !apiequality.Semantic.DeepEqual(pod.Spec, before.Spec) {
		pod.Generation = before.Generation + 1
	}
}

func (s editStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return s.part.validate(obj.(*corev1.Pod), old.(*corev1.Pod))
}

func (s editStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

// ephemeral is the list of ephemeral containers, which may only grow.
type ephemeral struct{}

func (ephemeral) keep(changed, into *corev1.Pod) {
	into.Spec.EphemeralContainers = changed.Spec.EphemeralContainers
}

func (ephemeral) validate(obj, old *corev1.Pod) field.ErrorList {
	return core.ValidateEphemeralContainersUpdate(obj, old)
}

// resize is what containers ask for and may use, changed while they run.
type resize struct{}

func (resize) keep(changed, into *corev1.Pod) {
	into.Spec.Resources = changed.Spec.Resources
	resources := func(from, to []corev1.Container) {
		for i := range to {
			for j := range from {
				if from[j].Name == to[i].Name {
					to[i].Resources, to[i].ResizePolicy = from[j].Resources, from[j].ResizePolicy
				}
			}
		}
	}
	resources(changed.Spec.Containers, into.Spec.Containers)
	resources(changed.Spec.InitContainers, into.Spec.InitContainers)
}

func (resize) validate(obj, old *corev1.Pod) field.ErrorList {
	return core.ValidateResizeUpdate(obj, old)
}
