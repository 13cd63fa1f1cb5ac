package registry

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiffcluster/skiff/apiserver/stack"
)

// statusStrategy updates status and leaves the rest: the mirror of strategy.
type statusStrategy struct{ strategy }

func (s statusStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	keepSpec(obj, old)
	m, before := obj.(metav1.Object), old.(metav1.Object)
	if s.kind.Status.KeepMetadata {
		metav1.ResetObjectMetaForStatus(m, before)
	}
	for _, name := range s.kind.Status.Keep {
		keep[name](m, before)
	}
	s.kind.Status.PrepareUpdate(obj, old)
}

func (s statusStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	errs := s.kind.Status.Validate(obj, old)
	if s.kind.Status.FreeFinalizers {
		return errs
	}
	return append(s.finalizers(obj.(metav1.Object)), errs...)
}

func (s statusStrategy) WarningsOnUpdate(context.Context, runtime.Object, runtime.Object) []string {
	return nil
}

func (s statusStrategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
	if s.kind.Status.KeepMetadata {
		set.Insert(fieldpath.MakePathOrDie("metadata"))
	}
	for _, name := range s.kind.Status.Keep {
		set.Insert(fieldpath.MakePathOrDie("metadata", name))
	}
	return s.forVersion(set)
}

// keep sets a field of metadata to what it was.
var keep = map[string]func(m, before metav1.Object){
	"labels":            func(m, before metav1.Object) { m.SetLabels(before.GetLabels()) },
	"annotations":       func(m, before metav1.Object) { m.SetAnnotations(before.GetAnnotations()) },
	"finalizers":        func(m, before metav1.Object) { m.SetFinalizers(before.GetFinalizers()) },
	"ownerReferences":   func(m, before metav1.Object) { m.SetOwnerReferences(before.GetOwnerReferences()) },
	"deletionTimestamp": func(m, _ metav1.Object) { m.SetDeletionTimestamp(nil) },
}

// statusStorage serves get, update and patch of a status, printed as a table
// too.
type statusStorage struct{ plainStatus }

// plainStatus serves a status as it is only.
type plainStatus struct{ store *genericregistry.Store }

func (s *plainStatus) New() runtime.Object { return s.store.New() }
func (s *plainStatus) Destroy()            {}

func (s *plainStatus) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	return s.store.Get(ctx, name, o)
}

func (s *plainStatus) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	stack.Reserve()
	return s.store.Update(ctx, name, info, create, update, false, o)
}

func (s *statusStorage) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return s.store.ConvertToTable(ctx, obj, o)
}

func (s *plainStatus) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	return s.store.GetResetFields()
}
