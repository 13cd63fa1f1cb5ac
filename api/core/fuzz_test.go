package core_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/core"
)

// FuzzKinds makes objects of all sorts and wants that defaults of defaults are
// the same, and that nothing panics.
func FuzzKinds(f *testing.F) {
	for seed := range int64(20) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed int64) {
		for _, kind := range []*api.Kind{podKind, nodeKind, controllerKind, templateKind} {
			// Few values are nil, or containers would have nothing in them.
			fill := randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 3).MaxDepth(14).Funcs(
				func(q *resource.Quantity, c randfill.Continue) {
					*q = *resource.NewMilliQuantity(c.Int63n(1<<40)-1<<20, resource.DecimalSI)
				},
				func(v *intstr.IntOrString, c randfill.Continue) {
					*v = intstr.FromInt32(int32(c.Uint32()))
					if c.Bool() {
						*v = intstr.FromString(c.String(8))
					}
				},
				func(f *metav1.FieldsV1, _ randfill.Continue) { *f = metav1.FieldsV1{} },
			)
			obj, old := kind.New(), kind.New()
			fill.Fill(obj)
			fill.Fill(old)
			useKind(t, kind, obj, old)
		}
	})
}

// useKind does all that is done with an object and with a change of it.
func useKind(t *testing.T, kind *api.Kind, obj, old runtime.Object) {
	t.Helper()
	for _, o := range []runtime.Object{obj, old} {
		kind.Default(o)
		again := o.DeepCopyObject()
		kind.Default(again)
		if !equal(o, again) {
			t.Errorf("Defaults of defaults of a %s differ.", kind.GVK.Kind)
		}
		kind.PrepareCreate(t.Context(), o)
	}
	kind.PrepareUpdate(t.Context(), obj, old)
	before, beforeOld := obj.DeepCopyObject(), old.DeepCopyObject()
	for _, was := range []runtime.Object{nil, old} {
		kind.Warnings(t.Context(), obj, was)
	}
	kind.Validate(t.Context(), obj)
	kind.ValidateUpdate(t.Context(), obj, old)
	kind.ValidateUpdate(t.Context(), obj, obj.DeepCopyObject())
	if kind.Status != nil {
		kind.Status.Validate(obj, old)
	}
	kind.Cells(obj)
	kind.Fields(obj)
	if pod, ok := obj.(*corev1.Pod); ok {
		kind.DeleteGrace(obj, nil)
		core.ValidateEphemeralContainersUpdate(pod, old.(*corev1.Pod))
		core.ValidateResizeUpdate(pod, old.(*corev1.Pod))
	}
	if !equal(obj, before) || !equal(old, beforeOld) {
		t.Errorf("Validation changed a %s.", kind.GVK.Kind)
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		core.PrepareEphemeralContainersUpdate(pod.DeepCopy(), old.(*corev1.Pod))
		core.PrepareResizeUpdate(pod.DeepCopy(), old.(*corev1.Pod))
	}
	if kind.Status != nil {
		kind.Status.PrepareUpdate(obj, old)
		kind.Status.ResetOnCreate(obj)
	}
}
