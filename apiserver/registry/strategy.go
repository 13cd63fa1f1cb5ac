package registry

import (
	"context"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/operation"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage/names"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiffcluster/skiff/api"
)

// strategy answers the store's questions on create and update from a kind's
// declaration.
type strategy struct {
	runtime.ObjectTyper
	kind *api.Kind
}

func (s strategy) GenerateName(base string) string {
	return names.SimpleNameGenerator.GenerateName(base)
}
func (s strategy) NamespaceScoped() bool                    { return s.kind.Namespaced }
func (s strategy) AllowCreateOnUpdate(context.Context) bool { return s.kind.CreateOnUpdate }
func (s strategy) AllowUnconditionalUpdate(context.Context) bool {
	return !s.kind.NoUnconditionalUpdate
}
func (s strategy) Canonicalize(runtime.Object) {}

func (s strategy) PrepareForCreate(ctx context.Context, obj runtime.Object) {
	if s.kind.Status != nil {
		s.kind.Status.ResetOnCreate(obj)
	}
	if s.kind.Generation {
		obj.(metav1.Object).SetGeneration(1)
	}
	s.kind.PrepareCreate(ctx, obj)
}

func (s strategy) Validate(ctx context.Context, obj runtime.Object) field.ErrorList {
	check := apivalidation.ValidateNameFunc(apivalidation.NameIsDNSSubdomain)
	if s.kind.NameValidation != nil {
		check = s.kind.NameValidation
	}
	m := obj.(metav1.Object)
	errs := apivalidation.ValidateObjectMetaAccessor(m, s.kind.Namespaced, check, field.NewPath("metadata"))
	return append(append(errs, s.finalizers(m)...), s.kind.Validate(ctx, obj)...)
}

// finalizers refuses those without a domain that are not Kubernetes' own.
func (s strategy) finalizers(m metav1.Object) field.ErrorList {
	if s.kind.FreeFinalizers {
		return nil
	}
	var errs field.ErrorList
	for i, name := range m.GetFinalizers() {
		switch name {
		case metav1.FinalizerOrphanDependents, metav1.FinalizerDeleteDependents, string(corev1.FinalizerKubernetes):
			continue
		}
		if !strings.Contains(name, "/") {
			errs = append(errs, field.Invalid(field.NewPath("metadata", "finalizers").Index(i), name, "name is neither a standard finalizer name nor is it fully qualified"))
		}
	}
	return errs
}

// ValidateDeclaratively implements rest.DeclarativeValidationStrategy: it
// tells every fault once, as Kubernetes does, where both the store's checks of
// metadata and the kind's have found it.
func (s strategy) ValidateDeclaratively(_ context.Context, _, _ runtime.Object, errs field.ErrorList, _ operation.Type, _ rest.DeclarativeValidationConfig) field.ErrorList {
	return errs.Filter(func(error) bool { return false })
}

// DeclarativeValidationConfig implements rest.DeclarativeValidationStrategy.
func (s strategy) DeclarativeValidationConfig(context.Context, runtime.Object, runtime.Object) rest.DeclarativeValidationConfig {
	return rest.DeclarativeValidationConfig{}
}

func (s strategy) WarningsOnCreate(ctx context.Context, obj runtime.Object) []string {
	return s.kind.Warnings(ctx, obj, nil)
}

func (s strategy) PrepareForUpdate(ctx context.Context, obj, old runtime.Object) {
	if s.kind.Status != nil {
		status(obj).Set(status(old))
	}
	m, before := obj.(metav1.Object), old.(metav1.Object).GetGeneration()
	m.SetGeneration(before)
	s.kind.PrepareUpdate(ctx, obj, old)
	if s.kind.Generation && m.GetGeneration() == before && !sameSpec(obj, old) {
		m.SetGeneration(before + 1)
	}
}

func (s strategy) ValidateUpdate(ctx context.Context, obj, old runtime.Object) field.ErrorList {
	first, second := s.kind.Validate(ctx, obj), s.kind.ValidateUpdate(ctx, obj, old)
	if s.kind.ChangeFirst {
		first, second = second, first
	}
	return append(append(s.finalizers(obj.(metav1.Object)), first...), second...)
}

func (s strategy) WarningsOnUpdate(ctx context.Context, obj, old runtime.Object) []string {
	return s.kind.Warnings(ctx, obj, old)
}

// GetResetFields tells server-side apply which fields a write of the main
// resource does not change, so that their managers keep them.
func (s strategy) GetResetFields() map[fieldpath.APIVersion]*fieldpath.Set {
	set := fieldpath.NewSet()
	for _, name := range s.kind.Reset {
		set.Insert(fieldpath.MakePathOrDie(name))
	}
	if s.kind.Status != nil {
		set.Insert(fieldpath.MakePathOrDie("status"))
	}
	if set.Empty() {
		return nil
	}
	return s.forVersion(set)
}

func (s strategy) forVersion(set *fieldpath.Set) map[fieldpath.APIVersion]*fieldpath.Set {
	return map[fieldpath.APIVersion]*fieldpath.Set{fieldpath.APIVersion(s.kind.GVK.GroupVersion().String()): set}
}

// DefaultGarbageCollectionPolicy is what a deletion that names no propagation
// policy does to dependents.
func (s strategy) DefaultGarbageCollectionPolicy(context.Context) rest.GarbageCollectionPolicy {
	switch {
	case s.kind.Uncollected:
		return rest.Unsupported
	case s.kind.OrphanByDefault:
		return rest.OrphanDependents
	}
	return rest.DeleteDependents
}

// graceful is the delete strategy of kinds whose deletion waits.
type graceful struct{ strategy }

func (g graceful) CheckGracefulDelete(_ context.Context, obj runtime.Object, o *metav1.DeleteOptions) bool {
	if o == nil {
		return false
	}
	seconds := g.kind.DeleteGrace(obj, o.GracePeriodSeconds)
	o.GracePeriodSeconds = &seconds
	return true
}

func status(obj runtime.Object) reflect.Value {
	return reflect.ValueOf(obj).Elem().FieldByName("Status")
}

// sameSpec compares everything but type, metadata and status.
func sameSpec(a, b runtime.Object) bool {
	x, y := reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem()
	for i := range x.NumField() {
		switch x.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		if !apiequality.Semantic.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			return false
		}
	}
	return true
}

// keepSpec sets everything but type, metadata and status to what it was.
func keepSpec(obj, old runtime.Object) {
	x, y := reflect.ValueOf(obj).Elem(), reflect.ValueOf(old).Elem()
	for i := range x.NumField() {
		switch x.Type().Field(i).Name {
		case "TypeMeta", "ObjectMeta", "Status":
			continue
		}
		x.Field(i).Set(y.Field(i))
	}
}
