package registry_test

import (
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	nodev1 "k8s.io/api/node/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/apps"
	"github.com/skiffcluster/skiff/api/core"
	"github.com/skiffcluster/skiff/api/events"
	"github.com/skiffcluster/skiff/api/flowcontrol"
	"github.com/skiffcluster/skiff/api/kindtest"
	"github.com/skiffcluster/skiff/api/node"
	"github.com/skiffcluster/skiff/api/scheme"
	"github.com/skiffcluster/skiff/api/storage"
	"github.com/skiffcluster/skiff/apiserver/registry"
)

func resource(t *testing.T, k *api.Kind) *registry.Resource {
	t.Helper()
	r, err := registry.New(scheme.New(), k, nowhere{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFinalizersHaveADomain(t *testing.T) {
	const unqualified = `metadata.finalizers[0]: Invalid value: "mine": name is neither a standard finalizer name nor is it fully qualified`
	for _, c := range []struct {
		name      string
		kind      *api.Kind
		finalizer string
		want      []string
	}{
		{"one of somebody", core.ConfigMap.Erase(), "example.com/mine", nil},
		{"one of nobody", core.ConfigMap.Erase(), "mine", []string{unqualified}},
		{"one of Kubernetes", core.ConfigMap.Erase(), "foregroundDeletion", nil},
		{"one of nobody where anybody's are taken", node.RuntimeClass.Erase(), "mine", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			obj := c.kind.New()
			m := obj.(metav1.Object)
			m.SetName("a")
			m.SetFinalizers([]string{c.finalizer})
			ctx := genericapirequest.NewContext()
			if c.kind.Namespaced {
				m.SetNamespace("ns")
				ctx = genericapirequest.WithNamespace(ctx, "ns")
			}
			if class, ok := obj.(*nodev1.RuntimeClass); ok {
				class.Handler = "runc"
			}
			kindtest.Errors(t, resource(t, c.kind).Store.CreateStrategy.Validate(ctx, obj), c.want...)
		})
	}
}

func TestAFaultOfMetadataIsToldOnce(t *testing.T) {
	old := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "ns", UID: "u", ResourceVersion: "1"}}
	now := old.DeepCopy()
	now.Labels = map[string]string{"a": "not a value!"}
	ctx := genericapirequest.WithNamespace(genericapirequest.NewContext(), "ns")
	kindtest.Errors(t, rest.ValidateUpdate(ctx, now, old, resource(t, core.ConfigMap.Erase()).Store.UpdateStrategy), "metadata.labels: Invalid value: ")
}

func TestWhatOfMetadataAStatusUpdateKeeps(t *testing.T) {
	meta := func(label string, owners ...metav1.OwnerReference) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "a", Labels: map[string]string{"l": label}, OwnerReferences: owners}
	}
	owner := metav1.OwnerReference{APIVersion: "v1", Kind: "Pod", Name: "b", UID: "u"}
	for _, c := range []struct {
		name          string
		kind          *api.Kind
		now, old      runtime.Object
		labels, owner bool // kept
	}{
		{"all of it", storage.VolumeAttachment.Erase(), &storagev1.VolumeAttachment{ObjectMeta: meta("now", owner)}, &storagev1.VolumeAttachment{ObjectMeta: meta("old")}, true, true},
		{"labels", apps.Deployment.Erase(), &appsv1.Deployment{ObjectMeta: meta("now", owner)}, &appsv1.Deployment{ObjectMeta: meta("old")}, true, false},
		{"owners", core.Pod.Erase(), &corev1.Pod{ObjectMeta: meta("now", owner)}, &corev1.Pod{ObjectMeta: meta("old")}, false, true},
		{"nothing", core.Node.Erase(), &corev1.Node{ObjectMeta: meta("now", owner)}, &corev1.Node{ObjectMeta: meta("old")}, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := resource(t, c.kind)
			r.Stores()[1].UpdateStrategy.PrepareForUpdate(t.Context(), c.now, c.old)
			m := c.now.(metav1.Object)
			if kept := m.GetLabels()["l"] == "old"; kept != c.labels {
				t.Errorf("labels are %v", m.GetLabels())
			}
			if kept := len(m.GetOwnerReferences()) == 0; kept != c.owner {
				t.Errorf("owners are %v", m.GetOwnerReferences())
			}
		})
	}
}

func TestWhatADeletionWaitsForAndAnswers(t *testing.T) {
	for _, c := range []struct {
		name     string
		kind     *api.Kind
		policy   rest.GarbageCollectionPolicy
		returned bool
	}{
		{"dependents go as well", core.ConfigMap.Erase(), rest.DeleteDependents, false},
		{"dependents stay", core.ReplicationController.Erase(), rest.OrphanDependents, false},
		{"there are none", events.Event.Erase(), rest.Unsupported, false},
		{"the object is answered", core.Service.Erase(), rest.DeleteDependents, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			store := resource(t, c.kind).Store
			if got := store.DeleteStrategy.(rest.GarbageCollectionDeleteStrategy).DefaultGarbageCollectionPolicy(t.Context()); got != c.policy {
				t.Errorf("the policy is %q", got)
			}
			if store.ReturnDeletedObject != c.returned {
				t.Errorf("the object is answered: %v", store.ReturnDeletedObject)
			}
		})
	}
}

func TestTablesOfLists(t *testing.T) {
	class := func(name string, made time.Time) storagev1.StorageClass {
		return storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{
			Name: name, CreationTimestamp: metav1.NewTime(made), Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		}}
	}
	schema := func(name string, precedence int32) flowcontrolv1.FlowSchema {
		return flowcontrolv1.FlowSchema{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: flowcontrolv1.FlowSchemaSpec{MatchingPrecedence: precedence}}
	}
	now := time.Now()
	newest := class("c", now)
	for _, c := range []struct {
		name string
		kind *api.Kind
		obj  runtime.Object
		want []any // first cells
	}{
		{
			"the newest default class is the default", storage.StorageClass.Erase(),
			&storagev1.StorageClassList{Items: []storagev1.StorageClass{class("a", now.Add(-time.Hour)), class("b", now), newest}},
			[]any{"a", "b (default)", "c"},
		},
		{"a class alone is not called one", storage.StorageClass.Erase(), &newest, []any{"c"}},
		{
			"schemas come as they are asked", flowcontrol.FlowSchema.Erase(),
			&flowcontrolv1.FlowSchemaList{Items: []flowcontrolv1.FlowSchema{schema("c", 2), schema("b", 1), schema("a", 2)}},
			[]any{"b", "a", "c"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			table, err := resource(t, c.kind).Store.TableConvertor.ConvertToTable(t.Context(), c.obj, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []any
			for _, row := range table.Rows {
				got = append(got, row.Cells[0])
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%v, not %v", got, c.want)
			}
		})
	}
}
