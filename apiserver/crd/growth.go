package crd

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	"sigs.k8s.io/yaml"
)

const (
	// mostGrown is by how many bytes of JSON defaults may lengthen what is written.
	// What grows more can't be stored, whose limit is lower; but a megabyte of empty
	// objects in a list would first be some gigabytes in memory.
	mostGrown = 16 << 20
	// mostRead is the same for what is stored, and more, since a kind of which an
	// object can't be read is not served until its definition is mended.
	mostRead = 256 << 20
)

// filling is what defaults put into a node of an object; nil where neither it
// nor what is below has one.
type filling struct {
	size     int // of the default, bytes, with the defaults in it; 0: there is none
	nullable bool
	fields   map[string]*filling
	values   *filling // of a map
	items    *filling // of a list
}

func fillingOf(s *apiextensionsv1.JSONSchemaProps) *filling {
	f := &filling{nullable: s.Nullable, fields: map[string]*filling{}}
	for name := range s.Properties {
		p := s.Properties[name]
		if field := fillingOf(&p); field != nil {
			f.fields[name] = field
		}
	}
	if a := s.AdditionalProperties; a != nil && a.Schema != nil {
		f.values = fillingOf(a.Schema)
	}
	if s.Items != nil && s.Items.Schema != nil {
		f.items = fillingOf(s.Items.Schema)
	}
	if s.Default != nil {
		var v any
		if err := json.Unmarshal(s.Default.Raw, &v); err == nil && v != nil {
			f.size = len(s.Default.Raw) + f.grown(v)
		}
	}
	if f.size == 0 && len(f.fields) == 0 && f.values == nil && f.items == nil {
		return nil
	}
	return f
}

// grown is by how many bytes defaults lengthen a value that is there.
func (f *filling) grown(v any) int {
	if f == nil {
		return 0
	}
	n := 0
	switch v := v.(type) {
	case map[string]any:
		for name, field := range f.fields {
			value, there := v[name]
			n += field.at(value, there)
		}
		if f.values != nil {
			for _, value := range v {
				n += f.values.at(value, true)
			}
		}
	case []any:
		if f.items != nil {
			for _, value := range v {
				n += f.items.at(value, true)
			}
		}
	}
	return n
}

// at is grown where a value may be missing, or null.
func (f *filling) at(v any, there bool) int {
	if f.size > 0 && (!there || v == nil && !f.nullable) {
		return f.size
	}
	return f.grown(v)
}

// largest is the most that one object or one null within this node grows by.
func (f *filling) largest() int {
	if f == nil {
		return 0
	}
	here, most := 0, max(f.values.largest(), f.items.largest())
	for _, field := range f.fields {
		here += field.size
		most = max(most, field.largest())
	}
	for _, each := range []*filling{f.values, f.items} {
		if each != nil {
			here = max(here, each.size)
		}
	}
	return max(here, most)
}

// fillings are those of the versions of a definition.
type fillings struct {
	uid        types.UID
	generation int64
	versions   []*filling
	largest    int // of all versions
}

func fillingsOf(crd *apiextensionsv1.CustomResourceDefinition) *fillings {
	f := &fillings{uid: crd.UID, generation: crd.Generation}
	for _, v := range crd.Spec.Versions {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		if root := fillingOf(v.Schema.OpenAPIV3Schema); root != nil {
			f.versions = append(f.versions, root)
			f.largest += root.largest()
		}
	}
	return f
}

// check refuses an object that would grow too much. An object is defaulted as
// the version that it came in and as the one that is stored.
func (f *fillings) check(v any, most int) error {
	n := 0
	for _, root := range f.versions {
		n += root.grown(v)
	}
	return tooLarge(n, most)
}

// checkPatch is check for a JSON patch, whose values may stand anywhere.
func (f *fillings) checkPatch(operations any, most int) error {
	list, _ := operations.([]any)
	n := 0
	for _, o := range list {
		if o, ok := o.(map[string]any); ok {
			n += places(o["value"])
		}
	}
	return tooLarge(n*f.largest, most)
}

// places counts the objects and nulls of a value.
func places(v any) int {
	n := 0
	switch v := v.(type) {
	case nil:
		n = 1
	case map[string]any:
		n = 1
		for _, value := range v {
			n += places(value)
		}
	case []any:
		for _, value := range v {
			n += places(value)
		}
	}
	return n
}

func tooLarge(n, most int) error {
	if n > most {
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("the defaults of its definition make the object %d bytes longer, at most %d is possible", n, most))
	}
	return nil
}

// growth bounds what defaults make of custom resources.
type growth struct {
	definitions listers.CustomResourceDefinitionLister

	mu    sync.Mutex
	known map[string]*fillings // by the name of the definition
}

// of gives nil where nothing grows.
func (g *growth) of(definition string) *fillings {
	crd, err := g.definitions.Get(definition)
	if err != nil {
		return nil // nor is there anything to be served
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	f := g.known[definition]
	if f == nil || f.uid != crd.UID || f.generation != crd.Generation {
		for name := range g.known {
			if _, err := g.definitions.Get(name); err != nil {
				delete(g.known, name)
			}
		}
		f = fillingsOf(crd)
		g.known[definition] = f
	}
	if f.largest == 0 {
		return nil
	}
	return f
}

// bound refuses requests whose objects would grow too much.
func (g *growth) bound(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if info, ok := request.RequestInfoFrom(req.Context()); ok && info.IsResourceRequest && req.Body != nil {
			switch info.Verb {
			case "create", "update", "patch":
				if err := g.checkRequest(req, info.Resource+"."+info.APIGroup); err != nil {
					responsewriters.ErrorNegotiated(err, apiserver.Codecs, schema.GroupVersion{Group: info.APIGroup, Version: info.APIVersion}, w, req)
					return
				}
			}
		}
		next.ServeHTTP(w, req)
	})
}

func (g *growth) checkRequest(req *http.Request, definition string) error {
	f := g.of(definition)
	if f == nil {
		return nil
	}
	media, _, err := mime.ParseMediaType(req.Header.Get("Content-Type"))
	if err != nil {
		media = runtime.ContentTypeJSON // as where there is none
	}
	unmarshal, check, least := json.Unmarshal, f.check, int64(2) // bytes of an empty object
	switch media {
	case runtime.ContentTypeYAML, string(types.ApplyYAMLPatchType):
		unmarshal, least = func(data []byte, into any) error { return yaml.Unmarshal(data, into) }, 0 // what it refers to has any length
	case runtime.ContentTypeCBOR, string(types.ApplyCBORPatchType):
		unmarshal, least = direct.Unmarshal, 1
	case string(types.JSONPatchType):
		check = f.checkPatch
	}
	if least > 0 && req.ContentLength >= 0 && req.ContentLength/least*int64(f.largest) <= mostGrown {
		return nil
	}
	// Longer ones are refused by whoever reads them next, and so is what can't be decoded.
	data, _ := io.ReadAll(io.LimitReader(req.Body, 4<<20))
	req.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(data), req.Body), req.Body}
	var v any
	if err := unmarshal(data, &v); err != nil {
		return nil //nolint:nilerr // as said
	}
	return check(v, mostGrown)
}

// bounded is a codec of JSON that doesn't read what would grow too much: its
// definition got larger defaults since it was stored.
type bounded struct {
	runtime.Codec
	growth     *growth
	definition string
}

// Decode implements runtime.Decoder.
func (b bounded) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	if f := b.growth.of(b.definition); f != nil && (bytes.Count(data, []byte("{"))+bytes.Count(data, []byte("null")))*f.largest > mostRead {
		var v any
		if err := json.Unmarshal(data, &v); err == nil { // what can't be decoded is told of below
			if err := f.check(v, mostRead); err != nil {
				return nil, nil, err
			}
		}
	}
	return b.Codec.Decode(data, defaults, into)
}
