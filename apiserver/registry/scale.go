package registry

import (
	"context"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/print"
)

// scaleStorage serves an object's replicas as an autoscaling/v1 Scale.
type scaleStorage struct {
	store *genericregistry.Store
	kind  *api.Kind
}

var scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

func (s *scaleStorage) New() runtime.Object { return &autoscalingv1.Scale{} }
func (s *scaleStorage) Destroy()            {}

// GroupVersionKind implements rest.GroupVersionKindProvider.
func (s *scaleStorage) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return scaleKind
}

func (s *scaleStorage) Get(ctx context.Context, name string, o *metav1.GetOptions) (runtime.Object, error) {
	obj, err := s.store.Get(ctx, name, o)
	if err != nil {
		return nil, err
	}
	return s.scaleOf(obj), nil
}

func (s *scaleStorage) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, _ bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	obj, _, err := s.store.Update(ctx, name, &scaleUpdate{s, info, name},
		func(ctx context.Context, obj runtime.Object) error { return create(ctx, s.scaleOf(obj)) },
		func(ctx context.Context, obj, old runtime.Object) error {
			return update(ctx, s.scaleOf(obj), s.scaleOf(old))
		}, false, o)
	if err != nil {
		return nil, false, err
	}
	return s.scaleOf(obj), false, nil
}

func (s *scaleStorage) ConvertToTable(ctx context.Context, obj, o runtime.Object) (*metav1.Table, error) {
	return table{scalePrinter}.ConvertToTable(ctx, obj, o)
}

// scalePrinter prints a Scale.
var scalePrinter = api.Of[autoscalingv1.Scale]{Columns: []api.Column[autoscalingv1.Scale]{
	{Name: "Name", Description: print.NameDoc(), Value: func(s *autoscalingv1.Scale) any { return s.Name }},
	{
		Name: "Desired", Type: "integer", Description: autoscalingv1.ScaleSpec{}.SwaggerDoc()["replicas"],
		Value: func(s *autoscalingv1.Scale) any { return int64(s.Spec.Replicas) },
	},
	{
		Name: "Available", Type: "integer", Description: autoscalingv1.ScaleStatus{}.SwaggerDoc()["replicas"],
		Value: func(s *autoscalingv1.Scale) any { return int64(s.Status.Replicas) },
	},
	print.Age[autoscalingv1.Scale](),
}}.Erase()

func (s *scaleStorage) scaleOf(obj runtime.Object) *autoscalingv1.Scale {
	m := obj.(metav1.Object)
	spec, st := s.kind.Scale.Get(obj)
	return &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{
			Name: m.GetName(), Namespace: m.GetNamespace(), UID: m.GetUID(),
			ResourceVersion: m.GetResourceVersion(), CreationTimestamp: m.GetCreationTimestamp(),
		},
		Spec: spec, Status: st,
	}
}

// scaleUpdate turns an update of a Scale into one of the object itself.
type scaleUpdate struct {
	*scaleStorage
	info rest.UpdatedObjectInfo
	name string
}

func (u *scaleUpdate) Preconditions() *metav1.Preconditions { return u.info.Preconditions() }

func (u *scaleUpdate) UpdatedObject(ctx context.Context, old runtime.Object) (runtime.Object, error) {
	obj := old.DeepCopyObject()
	m := obj.(metav1.Object)
	gv := u.kind.GVK.GroupVersion()
	managed := managedfields.NewScaleHandler(m.GetManagedFields(), gv, managedfields.ResourcePathMappings{
		gv.String(): fieldpath.MakePathOrDie(pathParts(u.kind.Scale.Path)...),
	})
	before := u.scaleOf(obj)
	entries, err := managed.ToSubresource()
	if err != nil {
		return nil, fmt.Errorf("managed fields of scale: %w", err)
	}
	before.ManagedFields = entries
	changed, err := u.info.UpdatedObject(ctx, before)
	if err != nil {
		return nil, err
	}
	scale, ok := changed.(*autoscalingv1.Scale)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected input object type to be Scale, but %T", changed))
	}
	if scale.Spec.Replicas < 0 {
		return nil, apierrors.NewInvalid(scaleKind.GroupKind(), u.name, field.ErrorList{
			field.Invalid(field.NewPath("spec", "replicas"), scale.Spec.Replicas, "must be greater than or equal to 0"),
		})
	}
	if scale.ResourceVersion != "" {
		m.SetResourceVersion(scale.ResourceVersion)
	}
	if scale.UID != "" && scale.UID != m.GetUID() {
		return nil, apierrors.NewConflict(u.kind.GVR.GroupResource(), u.name,
			fmt.Errorf("precondition failed: UID in precondition: %v, UID in object meta: %v", scale.UID, m.GetUID()))
	}
	u.kind.Scale.Set(obj, scale.Spec.Replicas)
	entries, err = managed.ToParent(scale.ManagedFields)
	if err != nil {
		return nil, fmt.Errorf("managed fields of scale: %w", err)
	}
	m.SetManagedFields(entries)
	return obj, nil
}

func pathParts(path []string) []any {
	parts := make([]any, len(path))
	for i, p := range path {
		parts[i] = p
	}
	return parts
}
