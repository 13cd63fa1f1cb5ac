package pods

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
)

// edit is a subresource that changes one part of a pod's spec.
type edit struct{ store *genericregistry.Store }

// part says what of a changed pod is kept, and whether that is valid.
type part struct {
	prepare  func(obj, old *corev1.Pod)
	validate func(obj, old *corev1.Pod) field.ErrorList
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
	s.part.prepare(obj.(*corev1.Pod), old.(*corev1.Pod))
}

func (s editStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return s.part.validate(obj.(*corev1.Pod), old.(*corev1.Pod))
}

func (s editStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}
