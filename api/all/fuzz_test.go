package all_test

import (
	"bytes"
	"context"
	"math/rand"
	"os"
	"testing"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/diff"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/all"
)

// byKind are the declarations, by kind and version.
var byKind = func() map[schema.GroupVersionKind]*api.Kind {
	out := map[schema.GroupVersionKind]*api.Kind{}
	for _, k := range all.Kinds() {
		out[k.GVK] = k
	}
	return out
}()

// FuzzDecode decodes anything as every serializer would, and does with the
// object all that the server does.
func FuzzDecode(f *testing.F) {
	for name, s := range media {
		for i, k := range all.Kinds() {
			var b bytes.Buffer
			codec := codecs.CodecForVersions(s, nil, k.GVK.GroupVersion(), nil)
			if err := codec.Encode(random(k)(), &b); err != nil {
				f.Fatalf("%s of %s: %v", name, k.GVK, err)
			}
			if i%4 == 0 { // enough of each sort
				f.Add(b.Bytes())
			}
		}
	}
	if data, err := os.ReadFile("../../apiserver/testdata/kinds.yaml"); err == nil {
		for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
			f.Add(doc)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, s := range media {
			obj, gvk, err := s.Decode(data, nil, nil)
			if err != nil {
				continue
			}
			k := byKind[*gvk]
			if k == nil {
				continue
			}
			internal := schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal}
			work, err := known.ConvertToVersion(obj, internal)
			if err != nil {
				t.Fatalf("%s: convert %s: %v", name, gvk, err)
			}
			judge(t, k, work, work.DeepCopyObject())
			out, err := runtime.Encode(codecs.CodecForVersions(s, nil, gvk.GroupVersion(), nil), work)
			if err != nil {
				continue // a number that is none, text that is not UTF-8
			}
			if _, err := runtime.Decode(codecs.CodecForVersions(nil, s, nil, internal), out); err != nil && name != "strict" {
				t.Errorf("%s: what was written cannot be read: %v", name, err)
			}
		}
	})
}

// FuzzValidate makes objects of all sorts from a seed.
func FuzzValidate(f *testing.F) {
	for seed := range int64(10) {
		f.Add(seed, uint16(seed*7))
	}
	kinds := all.Kinds()
	f.Fuzz(func(t *testing.T, seed int64, which uint16) {
		k := kinds[int(which)%len(kinds)]
		next := randomFrom(k, rand.NewSource(seed))
		judge(t, k, next(), next())
	})
}

// judge wants that nothing panics, that defaults are made once, and that an
// object without faults has none when it is written back as it is.
func judge(t *testing.T, k *api.Kind, obj, old runtime.Object) {
	t.Helper()
	ctx := context.Background()
	for _, o := range []runtime.Object{obj, old} {
		k.Default(o)
		again := o.DeepCopyObject()
		k.Default(again)
		if !apiequality.Semantic.DeepEqual(o, again) {
			t.Fatalf("defaults of a defaulted %s:\n%s", k.GVK, diff.Diff(o, again))
		}
	}
	k.PrepareCreate(ctx, obj)
	k.PrepareCreate(ctx, old)
	k.Warnings(ctx, obj, nil)
	k.Cells(obj)
	k.Fields(obj)
	fresh := obj.DeepCopyObject()
	fresh.(metav1.Object).SetResourceVersion("")
	faults := k.Validate(ctx, fresh)
	stored := fresh.DeepCopyObject()
	stored.(metav1.Object).SetResourceVersion("1")
	same := stored.DeepCopyObject()
	k.PrepareUpdate(ctx, same, stored)
	if errs := append(k.Validate(ctx, same), k.ValidateUpdate(ctx, same, stored)...); len(faults) == 0 && len(errs) > 0 {
		t.Errorf("a valid %s cannot be written back: %v", k.GVK, errs.ToAggregate())
	}
	if k.Status != nil {
		k.Status.PrepareUpdate(obj, old)
		k.Status.Validate(obj, old)
		k.Status.ResetOnCreate(fresh)
	}
	k.PrepareUpdate(ctx, obj, old)
	k.ValidateUpdate(ctx, obj, old)
	k.Warnings(ctx, obj, old)
}
