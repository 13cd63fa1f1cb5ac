package crd

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/cache"
)

func TestGrowth(t *testing.T) {
	for _, c := range []struct {
		name, schema, value string
		want, largest       int
	}{
		{"without a default nothing grows", `{"type":"object","properties":{"a":{"type":"string"}}}`, `{}`, 0, 0},
		{"a field that is missing is added", `{"properties":{"a":{"default":"four"}}}`, `{}`, 6, 6},
		{"a field that is there stays", `{"properties":{"a":{"default":"four"}}}`, `{"a":1}`, 0, 6},
		{"null is replaced", `{"properties":{"a":{"default":"four"}}}`, `{"a":null}`, 6, 6},
		{"null stays where it may be", `{"properties":{"a":{"default":"four","nullable":true}}}`, `{"a":null}`, 0, 6},
		{"what is missing with all around it is not added", `{"properties":{"a":{"properties":{"b":{"default":1}}}}}`, `{}`, 0, 1},
		{
			"defaults of a default are added to it",
			`{"properties":{"a":{"default":{},"properties":{"b":{"default":"four"},"c":{"default":1}}}}}`, `{}`, 2 + 6 + 1, 2 + 6 + 1,
		},
		{"each of a list grows", `{"items":{"properties":{"a":{"default":"four"},"b":{"default":22}}}}`, `[{},{"a":1},{"a":1,"b":2},3]`, 8 + 2, 8},
		{"null in a list is replaced", `{"items":{"default":"four"}}`, `[null,1,null]`, 12, 6},
		{"each of a map grows", `{"additionalProperties":{"properties":{"a":{"default":"four"}}}}`, `{"x":{},"y":{"a":1},"z":{}}`, 12, 6},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s apiextensionsv1.JSONSchemaProps
			var v any
			if err := json.Unmarshal([]byte(c.schema), &s); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(c.value), &v); err != nil {
				t.Fatal(err)
			}
			f := fillingOf(&s)
			if got := f.grown(v); got != c.want {
				t.Errorf("grows by %d, want %d", got, c.want)
			}
			if got := f.largest(); got != c.largest {
				t.Errorf("one place grows by %d at the most, want %d", got, c.largest)
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	var v any
	if err := json.Unmarshal([]byte(`[{},{"a":{"b":null}},1,"x",[null]]`), &v); err != nil {
		t.Fatal(err)
	}
	if got := places(v); got != 5 {
		t.Errorf("got %d, want 5", got)
	}
}

func TestWhatGrewTooMuchIsNotRead(t *testing.T) {
	indexer := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	g := &growth{definitions: listers.NewCustomResourceDefinitionLister(indexer), known: map[string]*fillings{}}
	define := func(generation int64, size int) {
		t.Helper()
		crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "as.example.com", UID: "1", Generation: generation}}
		var s apiextensionsv1.JSONSchemaProps
		if err := json.Unmarshal([]byte(`{"properties":{"spec":{"items":{"properties":{"a":{"default":"`+strings.Repeat("x", size)+`"}}}}}}`), &s); err != nil {
			t.Fatal(err)
		}
		crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{{Name: "v1", Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &s}}}
		if err := indexer.Add(crd); err != nil {
			t.Fatal(err)
		}
	}
	b := bounded{unstructured.UnstructuredJSONScheme, g, "as.example.com"}
	data := []byte(`{"apiVersion":"example.com/v1","kind":"A","spec":[` + strings.Repeat("{},", 299) + "{}]}")
	define(1, 1_000_000)
	if _, _, err := b.Decode(data, nil, nil); err == nil || !strings.Contains(err.Error(), "make the object 300000600 bytes longer") {
		t.Errorf("got %v", err)
	}
	if _, _, err := b.Decode(bytes.ReplaceAll(data, []byte("{}"), []byte(`{"a":"b"}`)), nil, nil); err != nil {
		t.Errorf("one that has all its fields: %v", err)
	}
	define(2, 10)
	if _, _, err := b.Decode(data, nil, nil); err != nil {
		t.Errorf("after the definition was mended: %v", err)
	}
	if g.of("bs.example.com") != nil {
		t.Error("a definition that is not there has defaults")
	}
}
