package crd

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	listers "k8s.io/apiextensions-apiserver/pkg/client/listers/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// documents tell of custom resources in OpenAPI. They are made when a client
// asks: the library's own controllers make and keep each as soon as there is a
// definition, a quarter of a megabyte for one of a hundred fields.
type documents struct {
	definitions listers.CustomResourceDefinitionLister
	v3          *handler3.OpenAPIService // nil until follow

	mu      sync.Mutex
	changes int
	told    map[string]told // by the name of the definition
}

// told is what documents tell of a definition.
type told struct {
	uid        types.UID
	generation int64
	versions   []schema.GroupVersion
}

var _ cache.ResourceEventHandler = &documents{}

// OnAdd implements cache.ResourceEventHandler.
func (d *documents) OnAdd(obj any, _ bool) { d.OnUpdate(nil, obj) }

// OnUpdate implements cache.ResourceEventHandler.
func (d *documents) OnUpdate(_, obj any) {
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		d.tell(crd.Name, tellOf(crd))
	}
}

// OnDelete implements cache.ResourceEventHandler.
func (d *documents) OnDelete(obj any) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if crd, ok := obj.(*apiextensionsv1.CustomResourceDefinition); ok {
		d.tell(crd.Name, told{})
	}
}

func tellOf(crd *apiextensionsv1.CustomResourceDefinition) told {
	t := told{uid: crd.UID, generation: crd.Generation}
	for _, v := range versions(crd) {
		t.versions = append(t.versions, schema.GroupVersion{Group: crd.Spec.Group, Version: v})
	}
	return t
}

// tell makes the documents in which the definition was or is be made anew.
func (d *documents) tell(definition string, now told) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.told[definition]
	if now.uid == before.uid && now.generation == before.generation && slices.Equal(now.versions, before.versions) {
		return
	}
	d.told[definition] = now
	if len(now.versions) == 0 {
		delete(d.told, definition)
	}
	d.changes++
	for _, gv := range append(slices.Clone(before.versions), now.versions...) {
		path := "apis/" + gv.String()
		if d.has(gv) {
			d.v3.UpdateGroupVersionLazy(path, d.version(gv, strconv.Itoa(d.changes)))
		} else {
			d.v3.DeleteGroupVersion(path)
		}
	}
}

func (d *documents) has(gv schema.GroupVersion) bool {
	for _, t := range d.told {
		if slices.Contains(t.versions, gv) {
			return true
		}
	}
	return false
}

// version is the document of a group and version. The library asks for it with
// every request and encodes it when tag is another one than before. The one that
// it has encoded, and keeps, is emptied.
func (d *documents) version(gv schema.GroupVersion, tag string) cached.Value[*spec3.OpenAPI] {
	var mu sync.Mutex
	var made *spec3.OpenAPI
	return cached.Func(func() (*spec3.OpenAPI, string, error) {
		mu.Lock()
		defer mu.Unlock()
		if made != nil {
			*made = spec3.OpenAPI{}
			return made, tag, nil
		}
		parts := each(d, func(crd *apiextensionsv1.CustomResourceDefinition, version string) (*spec3.OpenAPI, error) {
			if crd.Spec.Group != gv.Group || version != gv.Version {
				return nil, nil //nolint:nilnil // not in this document
			}
			return builder.BuildOpenAPIV3(crd, version, builder.Options{IncludeSelectableFields: true})
		})
		merged, err := builder.MergeSpecsV3(parts...)
		made = merged
		return merged, tag, err
	})
}

// Documents are the versions of the documents of custom resources by their
// paths, "apis/example.com/v1".
func (s *Server) Documents() map[string]string {
	d := s.documents
	d.mu.Lock()
	defer d.mu.Unlock()
	out := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(d.told)) {
		t := d.told[name]
		for _, gv := range t.versions {
			out["apis/"+gv.String()] += fmt.Sprintf("%s/%d,", t.uid, t.generation)
		}
	}
	return out
}

// OpenAPI2 gives what the one document of OpenAPI v2 tells of custom resources,
// and a tag that is another one when that has changed.
func (s *Server) OpenAPI2() (tag string, parts func() []*spec.Swagger) {
	d := s.documents
	d.mu.Lock()
	defer d.mu.Unlock()
	return strconv.Itoa(d.changes), func() []*spec.Swagger {
		return each(d, func(crd *apiextensionsv1.CustomResourceDefinition, version string) (*spec.Swagger, error) {
			part, err := builder.BuildOpenAPIV2(crd, version, builder.Options{V2: true, IncludeSelectableFields: true})
			if err == nil {
				part.Definitions = handler.PruneDefaults(part.Definitions) // as those that it is merged with are
			}
			return part, err
		})
	}
}

// each makes a part of each version of the established definitions, by name. A
// definition that can't be told of is left out, as its schema is by Kubernetes.
func each[T any](d *documents, part func(crd *apiextensionsv1.CustomResourceDefinition, version string) (*T, error)) []*T {
	all, err := d.definitions.List(labels.Everything())
	if err != nil {
		klog.Background().Error(err, "Documents leave custom resources out")
		return nil
	}
	slices.SortFunc(all, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return strings.Compare(a.Name, b.Name) })
	var out []*T
	for _, crd := range all {
		for _, v := range versions(crd) {
			p, err := part(crd, v)
			if err != nil {
				klog.Background().V(1).Info("Documents leave a custom resource out", "CustomResourceDefinition", crd.Name, "version", v, "reason", err.Error())
			} else if p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}
