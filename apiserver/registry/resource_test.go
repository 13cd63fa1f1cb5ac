package registry_test

import (
	"reflect"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"

	"github.com/skiffcluster/skiff/api/all"
	"github.com/skiffcluster/skiff/api/scheme"
	"github.com/skiffcluster/skiff/apiserver/registry"
)

// nowhere gives no storage: what is looked at here is what stands before it.
type nowhere struct{}

func (nowhere) GetRESTOptions(resource schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return generic.RESTOptions{
		ResourcePrefix: "/" + resource.String(),
		StorageConfig:  &storagebackend.ConfigForResource{GroupResource: resource},
		Decorator: func(*storagebackend.ConfigForResource, string, func(runtime.Object) (string, error), func() runtime.Object,
			func() runtime.Object, storage.AttrFunc, storage.IndexerFuncs, *cache.Indexers,
		) (storage.Interface, factory.DestroyFunc, error) {
			return nil, func() {}, nil
		},
	}, nil
}

func TestAListHoldsWhatIsStored(t *testing.T) {
	s := scheme.New()
	for _, k := range all.Kinds() {
		t.Run(k.GVR.String(), func(t *testing.T) {
			r, err := registry.New(s, k, nowhere{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			items, ok := reflect.TypeOf(r.Store.NewListFunc()).Elem().FieldByName("Items")
			if !ok {
				t.Fatalf("%T has no items", r.Store.NewListFunc())
			}
			if object := reflect.TypeOf(r.Store.NewFunc()).Elem(); items.Type.Elem() != object {
				t.Errorf("a list of %s for objects of type %s", items.Type.Elem(), object)
			}
		})
	}
}
