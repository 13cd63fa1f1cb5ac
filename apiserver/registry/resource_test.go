package registry_test

import (
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/all"
	"github.com/skiffcluster/skiff/api/apiregistration"
	"github.com/skiffcluster/skiff/api/apps"
	"github.com/skiffcluster/skiff/api/certificates"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/events"
	"github.com/skiffcluster/skiff/api/kindtest"
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

func TestAnotherGroupHasItsOwnRulesInOneStore(t *testing.T) {
	s := scheme.New()
	first, err := registry.New(s, core.Event.Erase(), nowhere{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := registry.New(s, events.Event.Erase(), nowhere{}, first)
	if err != nil {
		t.Fatal(err)
	}
	ctx := genericapirequest.WithNamespace(genericapirequest.NewContext(), "default")
	e := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "default", Name: "e"},
		InvolvedObject: corev1.ObjectReference{Namespace: "default"},
		Type:           "Odd",
	}
	kindtest.Errors(t, first.Store.CreateStrategy.Validate(ctx, e))
	if errs := second.Store.CreateStrategy.Validate(ctx, e).ToAggregate(); errs == nil || !strings.Contains(errs.Error(), "eventTime: Required value") {
		t.Errorf("events.k8s.io takes what the core group does: %v", errs)
	}
	if first.Store == second.Store || first.Store.KeyRootFunc(ctx) != second.Store.KeyRootFunc(ctx) {
		t.Error("the groups do not store in one place, each by rules of its own")
	}
}

func TestWhatASubresourceIsServedAs(t *testing.T) {
	s := scheme.New()
	for _, c := range []struct {
		name  string
		kind  *api.Kind
		table bool
	}{
		{"a status is printed", apps.Deployment.Erase(), true},
		{"one that says so is not", apiregistration.APIService.Erase(), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := registry.New(s, c.kind, nowhere{}, nil)
			if err != nil {
				t.Fatal(err)
			}
			status := r.Storage[c.kind.GVR.Resource+"/status"]
			if _, ok := status.(rest.TableConvertor); ok != c.table {
				t.Errorf("%T: %v", status, ok)
			}
			if _, ok := status.(rest.Patcher); !ok {
				t.Errorf("%T is not written", status)
			}
		})
	}
}

func TestFieldsThatNobodyManages(t *testing.T) {
	r, err := registry.New(scheme.New(), certificates.CertificateSigningRequest.Erase(), nowhere{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := r.Store.GetResetFields()["certificates.k8s.io/v1"], fieldpath.NewSet(fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("status")); !want.Equals(got) {
		t.Errorf("An update resets %s.", got)
	}
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
