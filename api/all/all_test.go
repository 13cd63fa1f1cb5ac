package all_test

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/diff"
	"sigs.k8s.io/randfill"

	"github.com/skiffcluster/skiff/api"
	"github.com/skiffcluster/skiff/api/all"
	"github.com/skiffcluster/skiff/api/scheme"
)

// rounds is how many random objects of each kind are tried.
const rounds = 12

var (
	known  = scheme.New()
	codecs = serializer.NewCodecFactory(known)
)

// each runs f for every kind, by its resource and version.
func each(t *testing.T, f func(t *testing.T, k *api.Kind)) {
	t.Helper()
	for _, k := range all.Kinds() {
		t.Run(k.GVR.GroupResource().String()+"/"+k.GVR.Version, func(t *testing.T) { f(t, k) })
	}
}

// random returns a source of random objects of a kind. The seed is fixed: a
// failure is seen again.
func random(k *api.Kind) func() runtime.Object { return randomFrom(k, rand.NewSource(1)) }

func randomFrom(k *api.Kind, source rand.Source) func() runtime.Object {
	// Serializers may write raw JSON in another order of its keys.
	raw := func(serializer.CodecFactory) []any {
		return []any{func(r *runtime.RawExtension, c randfill.Continue) {
			*r = runtime.RawExtension{Raw: fmt.Appendf(nil, `{"n":%d}`, c.Intn(1000))}
		}}
	}
	fill := fuzzer.FuzzerFor(fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, raw), source, codecs)
	return func() runtime.Object {
		obj := k.New()
		fill.MaxDepth(12).NilChance(.3).NumElements(1, 2).Fill(obj)
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		return obj
	}
}

func TestKindsAreDeclaredInFull(t *testing.T) {
	seen := map[schema.GroupVersionResource]bool{}
	each(t, func(t *testing.T, k *api.Kind) {
		if k.GVR.Resource == "" || k.GVK.Kind == "" || k.GVK.Version == "" || k.Singular == "" {
			t.Errorf("a name is missing: %+v", k.GVR)
		}
		if seen[k.GVR] {
			t.Errorf("%s is declared twice", k.GVR)
		}
		seen[k.GVR] = true
		obj := k.New()
		if _, ok := obj.(metav1.Object); !ok {
			t.Errorf("%T has no metadata", obj)
		}
		for _, kind := range []string{k.GVK.Kind, k.GVK.Kind + "List"} {
			for _, version := range []string{k.GVK.Version, runtime.APIVersionInternal} {
				if gvk := (schema.GroupVersionKind{Group: k.GVK.Group, Version: version, Kind: kind}); !known.Recognizes(gvk) {
					t.Errorf("%s is not in the scheme", gvk)
				}
			}
		}
		internal, err := known.New(k.GVK.GroupKind().WithVersion(runtime.APIVersionInternal))
		if err != nil {
			t.Fatal(err)
		}
		if got, _, _ := known.ObjectKinds(internal); !slices.Contains(got, k.StorageVersion.WithKind(k.GVK.Kind)) {
			t.Errorf("objects are worked on as %T, which is not stored as %s", internal, k.StorageVersion)
		}
		named := func(c metav1.TableColumnDefinition) bool { return c.Name == "Name" && c.Format == "name" }
		if len(k.Columns) > 0 && !slices.ContainsFunc(k.Columns, named) { // those without have the library's
			t.Errorf("no column has the name: %v", k.Columns)
		}
		for _, c := range k.Columns {
			// Kubernetes looks for the handler's among those of metadata, and has none
			// of candidates' versions.
			if c.Description == "" && c.Name != "Handler" && k.GVK.Kind != "LeaseCandidate" {
				t.Errorf("column %s is not described", c.Name)
			}
		}
	})
}

func TestDefaultsOfDefaultedObjectsAreNone(t *testing.T) {
	each(t, func(t *testing.T, k *api.Kind) {
		next := random(k)
		for range rounds {
			obj := next()
			k.Default(obj)
			again := obj.DeepCopyObject()
			k.Default(again)
			if !apiequality.Semantic.DeepEqual(obj, again) {
				t.Fatalf("defaults change what they made:\n%s", diff.Diff(obj, again))
			}
		}
	})
}

func TestNothingPanicsOrChangesWhatItJudges(t *testing.T) {
	ctx := context.Background()
	each(t, func(t *testing.T, k *api.Kind) {
		next := random(k)
		for range rounds {
			obj, old := next(), next()
			for _, o := range []runtime.Object{obj, old} {
				k.PrepareCreate(ctx, o)
				k.Default(o)
			}
			k.PrepareUpdate(ctx, obj, old)
			wasObj, wasOld := obj.DeepCopyObject(), old.DeepCopyObject()
			k.Validate(ctx, obj)
			k.ValidateUpdate(ctx, obj, old)
			k.Warnings(ctx, obj, nil)
			k.Warnings(ctx, obj, old)
			if n := len(k.Cells(obj)); n != len(k.Columns) {
				t.Fatalf("%d cells for %d columns", n, len(k.Columns))
			}
			if k.Status != nil {
				k.Status.Validate(obj, old)
			}
			if k.Scale != nil {
				k.Scale.Get(obj)
			}
			if !apiequality.Semantic.DeepEqual(obj, wasObj) {
				t.Fatalf("the object was changed:\n%s", diff.Diff(wasObj, obj))
			}
			if !apiequality.Semantic.DeepEqual(old, wasOld) {
				t.Fatalf("the old object was changed:\n%s", diff.Diff(wasOld, old))
			}
		}
	})
}

func TestEmptyObjectsAreJudgedToo(t *testing.T) {
	ctx := context.Background()
	each(t, func(t *testing.T, k *api.Kind) {
		obj, old := k.New(), k.New()
		k.Validate(ctx, obj)
		k.ValidateUpdate(ctx, obj, old)
		k.Warnings(ctx, obj, old)
		k.Cells(obj)
		if k.Status != nil {
			k.Status.ResetOnCreate(obj)
			k.Status.PrepareUpdate(obj, old)
			k.Status.Validate(obj, old)
		}
		if k.Scale != nil {
			k.Scale.Set(obj, 3)
			if spec, _ := k.Scale.Get(obj); spec.Replicas != 3 {
				t.Errorf("scaled to 3, got %d", spec.Replicas)
			}
		}
	})
}

// media are the serializers of everything that goes over the wire or to disk.
var media = map[string]runtime.Serializer{
	"json":     json.NewSerializerWithOptions(json.DefaultMetaFactory, known, known, json.SerializerOptions{}),
	"strict":   json.NewSerializerWithOptions(json.DefaultMetaFactory, known, known, json.SerializerOptions{Strict: true}),
	"yaml":     json.NewSerializerWithOptions(json.DefaultMetaFactory, known, known, json.SerializerOptions{Yaml: true}),
	"protobuf": protobuf.NewSerializer(known, known),
	"cbor":     cbor.NewSerializer(known, known),
}

// survives encodes an object in a version and decodes it again.
func survives(obj runtime.Object, k *api.Kind, s runtime.Serializer, version schema.GroupVersion) (runtime.Object, error) {
	codec := codecs.CodecForVersions(s, s, version, schema.GroupVersion{Group: version.Group, Version: runtime.APIVersionInternal})
	data, err := runtime.Encode(codec, obj.DeepCopyObject())
	if err != nil {
		return nil, err
	}
	back, err := runtime.Decode(codec, data)
	if err != nil {
		return nil, err
	}
	k.Default(back)
	back.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return back, nil
}

func TestObjectsSurviveTheWireAndStorage(t *testing.T) {
	each(t, func(t *testing.T, k *api.Kind) {
		next := random(k)
		for range rounds {
			obj := next()
			k.Default(obj)
			stored, err := survives(obj, k, media["protobuf"], k.StorageVersion)
			if err != nil {
				t.Fatalf("stored: %v", err)
			}
			if !apiequality.Semantic.DeepEqual(obj, stored) {
				t.Fatalf("storage changes the object:\n%s", diff.Diff(obj, stored))
			}
			if k.GVK.GroupVersion() != k.StorageVersion {
				// What the version can say; clients of it can write no more.
				if obj, err = survives(obj, k, media["json"], k.GVK.GroupVersion()); err != nil {
					t.Fatal(err)
				}
			}
			for name, s := range media {
				back, err := survives(obj, k, s, k.GVK.GroupVersion())
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if !apiequality.Semantic.DeepEqual(obj, back) {
					t.Fatalf("%s changes the object:\n%s", name, diff.Diff(obj, back))
				}
			}
		}
	})
}

// TestVersionsSayTheSame sees that conversion loses no field: everything that
// the stored version can say survives another version, but for a few kinds.
func TestVersionsSayTheSame(t *testing.T) {
	lossy := map[string]string{
		"autoscaling/v1, Kind=HorizontalPodAutoscaler":        "random targets are of several types at once; see api/scheme",
		"certificates.k8s.io/v1, Kind=PodCertificateRequest":  "it has no key beside the signing request",
		"resource.k8s.io/v1beta1, Kind=ResourceClaim":         "a request is exact or has alternatives",
		"resource.k8s.io/v1beta1, Kind=ResourceClaimTemplate": "a request is exact or has alternatives",
		"resource.k8s.io/v1beta1, Kind=ResourceSlice":         "an empty name and a false flag mean none",
	}
	each(t, func(t *testing.T, k *api.Kind) {
		if k.GVK.GroupVersion() == k.StorageVersion || lossy[k.GVK.String()] != "" {
			t.Skip(lossy[k.GVK.String()])
		}
		next := random(k)
		for range rounds {
			obj := next()
			k.Default(obj)
			back, err := survives(obj, k, media["json"], k.GVK.GroupVersion())
			if err != nil {
				t.Fatal(err)
			}
			if !apiequality.Semantic.DeepEqual(obj, back) {
				t.Fatalf("the version changes the object:\n%s", diff.Diff(obj, back))
			}
		}
	})
}

func TestFieldsAreTheSameForEveryObject(t *testing.T) {
	each(t, func(t *testing.T, k *api.Kind) {
		want, next := k.Fields(k.New()), random(k)
		for range rounds {
			got := k.Fields(next())
			for key := range got {
				if !want.Has(key) {
					t.Fatalf("an empty object has no field %s", key)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("fields %v, of an empty object %v", got, want)
			}
		}
		for _, field := range k.Indexed {
			if !want.Has(field) {
				t.Errorf("no field %s to index", field)
			}
		}
	})
}
