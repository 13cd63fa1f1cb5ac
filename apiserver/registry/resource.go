package registry

import (
	"context"
	"fmt"
	"reflect"

	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/client-go/tools/cache"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/apiserver/stack"
)

// Resource is the REST storage of one kind.
type Resource struct {
	Kind  *api.Kind
	Store *genericregistry.Store
	// Storage is what is served, by path: "deployments", "deployments/status".
	// Subresources of one kind only (a pod's log) are added to it.
	Storage map[string]rest.Storage

	main   *main
	status *genericregistry.Store
}

// Stores are the store of the objects and the one of their status, which is a
// copy with another strategy: a hook of a kind belongs into both.
func (r *Resource) Stores() []*genericregistry.Store {
	if r.status == nil {
		return []*genericregistry.Store{r.Store}
	}
	return []*genericregistry.Store{r.Store, r.status}
}

// Delete is how an object of the store is deleted.
type Delete func(ctx context.Context, name string, v rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error)

// OnDelete puts a kind's own way of deletion in front of the store's.
func (r *Resource) OnDelete(wrap func(Delete) Delete) { r.main.delete = wrap(r.Store.Delete) }

// New makes the storage of a kind. When the kind's objects are another's,
// shared is that one's storage.
func New(scheme *runtime.Scheme, k *api.Kind, getter generic.RESTOptionsGetter, shared *Resource) (*Resource, error) {
	r := &Resource{Kind: k, Storage: map[string]rest.Storage{}}
	if shared != nil {
		r.Store = shared.Store
		if shared.Kind.GVK.Group != k.GVK.Group { // which has rules of its own
			store, base := *shared.Store, r.strategy(scheme)
			store.CreateStrategy, store.UpdateStrategy, store.ResetFieldsStrategy = base, base, base
			r.Store = &store
		}
	} else {
		store, err := newStore(scheme, k, getter)
		if err != nil {
			return nil, fmt.Errorf("storage of %s: %w", k.GVR.GroupResource(), err)
		}
		r.Store = store
	}
	r.main = &main{Store: r.Store, kind: k}
	r.Storage[k.GVR.Resource] = r.main
	if k.NoDeleteCollection {
		r.Storage[k.GVR.Resource] = single{r.main}
	}
	if k.Status != nil {
		store := *r.Store
		s := statusStrategy{r.strategy(scheme)}
		store.UpdateStrategy, store.ResetFieldsStrategy = s, s
		r.status = &store
		r.Storage[k.GVR.Resource+"/status"] = &statusStorage{plainStatus{&store}}
		if k.Status.NoTable {
			r.Storage[k.GVR.Resource+"/status"] = &plainStatus{&store}
		}
	}
	if k.Scale != nil {
		r.Storage[k.GVR.Resource+"/scale"] = &scaleStorage{r.Store, k}
	}
	return r, nil
}

func (r *Resource) strategy(scheme *runtime.Scheme) strategy {
	return strategy{ObjectTyper: scheme, kind: r.Kind}
}

func newStore(scheme *runtime.Scheme, k *api.Kind, getter generic.RESTOptionsGetter) (*genericregistry.Store, error) {
	// The list of what is stored, which the kind's version need not be.
	list, err := scheme.New(schema.GroupVersionKind{Group: k.GVK.Group, Version: runtime.APIVersionInternal, Kind: k.GVK.Kind + "List"})
	if err != nil {
		return nil, fmt.Errorf("list type: %w", err)
	}
	listType := reflect.TypeOf(list).Elem()
	base := strategy{ObjectTyper: scheme, kind: k}
	s := &genericregistry.Store{
		NewFunc:                   k.New,
		NewListFunc:               func() runtime.Object { return reflect.New(listType).Interface().(runtime.Object) },
		DefaultQualifiedResource:  k.GVR.GroupResource(),
		SingularQualifiedResource: schema.GroupResource{Group: k.GVK.Group, Resource: k.Singular},
		CreateStrategy:            base, UpdateStrategy: base, DeleteStrategy: base, ResetFieldsStrategy: base,
		TableConvertor: newTable(k),
		PredicateFunc: func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
			return storage.SelectionPredicate{Label: l, Field: f, GetAttrs: attributes(k), IndexFields: k.Indexed}
		},
	}
	s.ReturnDeletedObject = k.ReturnDeleted
	if k.DeleteGrace != nil {
		s.DeleteStrategy = graceful{base}
	}
	o := &generic.StoreOptions{RESTOptions: getter, AttrFunc: attributes(k)}
	if len(k.Indexed) > 0 {
		o.TriggerFunc, o.Indexers = storage.IndexerFuncs{}, &cache.Indexers{}
		// The watch cache takes one trigger: watches that select by it are
		// found without asking every other watch.
		for _, name := range k.Indexed {
			value := func(obj runtime.Object) string { return k.Fields(obj)[name] }
			if len(o.TriggerFunc) == 0 {
				o.TriggerFunc[name] = value
			}
			(*o.Indexers)[storage.FieldIndex(name)] = func(obj any) ([]string, error) {
				return []string{value(obj.(runtime.Object))}, nil
			}
		}
	}
	if err := s.CompleteWithOptions(o); err != nil {
		return nil, err
	}
	return s, nil
}

// attributes gives what selectors match.
func attributes(k *api.Kind) storage.AttrFunc {
	return func(obj runtime.Object) (labels.Set, fields.Set, error) {
		m, ok := obj.(metav1.Object)
		if !ok {
			return nil, nil, fmt.Errorf("%T has no metadata", obj)
		}
		f := k.Fields(obj)
		if f == nil {
			f = fields.Set{}
		}
		f["metadata.name"] = m.GetName()
		if k.Namespaced {
			f["metadata.namespace"] = m.GetNamespace()
		}
		return m.GetLabels(), f, nil
	}
}

// main is the resource itself: the library's store with the kind's names.
type main struct {
	*genericregistry.Store
	kind   *api.Kind
	delete Delete // nil: the store's
}

// Update implements rest.Updater.
func (m *main) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, create rest.ValidateObjectFunc,
	update rest.ValidateObjectUpdateFunc, force bool, o *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	stack.Reserve()
	return m.Store.Update(ctx, name, info, create, update, force, o)
}

// Delete implements rest.GracefulDeleter.
func (m *main) Delete(ctx context.Context, name string, v rest.ValidateObjectFunc, o *metav1.DeleteOptions) (runtime.Object, bool, error) {
	stack.Reserve()
	m.warnOfOrphans(ctx, o)
	if m.delete != nil {
		return m.delete(ctx, name, v, o)
	}
	return m.Store.Delete(ctx, name, v, o)
}

// DeleteCollection implements rest.CollectionDeleter.
func (m *main) DeleteCollection(ctx context.Context, v rest.ValidateObjectFunc, o *metav1.DeleteOptions, list *metainternalversion.ListOptions) (runtime.Object, error) {
	m.warnOfOrphans(ctx, o)
	return m.Store.DeleteCollection(ctx, v, o, list)
}

// warnOfOrphans tells a client that did not say what becomes of dependents.
func (m *main) warnOfOrphans(ctx context.Context, o *metav1.DeleteOptions) {
	// Old clients say it by OrphanDependents.
	if said := o.PropagationPolicy != nil || o.OrphanDependents != nil; !said && m.kind.OrphanWarning != "" { //nolint:staticcheck // deprecated, and still sent
		warning.AddWarning(ctx, "", m.kind.OrphanWarning)
	}
}

func (m *main) ShortNames() []string    { return m.kind.ShortNames }
func (m *main) Categories() []string    { return m.kind.Categories }
func (m *main) GetSingularName() string { return m.kind.Singular }

// single is a resource whose objects are deleted one by one only.
type single struct{ oneByOne }

type oneByOne interface {
	rest.Storage
	rest.Scoper
	rest.Getter
	rest.Lister
	rest.Creater
	rest.Updater
	rest.GracefulDeleter
	rest.Watcher
	rest.ShortNamesProvider
	rest.CategoriesProvider
	rest.SingularNameProvider
	rest.StorageVersionProvider
	rest.StorageWithReadiness
	rest.ResetFieldsStrategy
}
