package openapi

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	crdbuilder "k8s.io/apiextensions-apiserver/pkg/controller/openapi/builder"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/generated/openapi"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	apiopenapi "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Spec makes documents and type converters of the kinds in a scheme. All of
// it is made when first asked for: most runs ask for little of it.
type Spec struct {
	version    string
	v2         func() *common.Config
	v3         func() *common.OpenAPIV3Config
	converters sync.Map // names of types, joined → *converter
}

// build3 is v3 for one build. The builder writes to the extensions of the
// definitions that it uses, which documents of earlier builds still share: each
// build has extensions of its own.
func (s *Spec) build3() *common.OpenAPIV3Config {
	c := *s.v3()
	shared := c.Definitions
	c.Definitions = make(map[string]common.OpenAPIDefinition, len(shared))
	for name, d := range shared {
		d.Schema.Extensions = maps.Clone(d.Schema.Extensions)
		c.Definitions[name] = d
	}
	return &c
}

// How clients of every document prove who they are.
const (
	bearer            = "BearerToken"
	bearerDescription = "Bearer Token authentication"
	unauthorized      = "Unauthorized"
)

// New gives the Spec of a scheme's kinds; version is the cluster's, "v1.37.2".
func New(version string, schemes ...*runtime.Scheme) *Spec {
	s := &Spec{version: version}
	name := sync.OnceValue(func() func(string) (string, spec.Extensions) {
		namer := apiopenapi.NewDefinitionNamer(schemes...)
		return func(n string) (string, spec.Extensions) { return external(namer.GetDefinitionName(n)) }
	})
	s.v2 = func() *common.Config {
		c := genericapiserver.DefaultOpenAPIConfig(definitions, apiopenapi.NewDefinitionNamer())
		c.GetDefinitionName = name()
		c.Info.Title, c.Info.Version = "Kubernetes", version
		c.SecurityDefinitions = &spec.SecurityDefinitions{bearer: {SecuritySchemeProps: spec.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: bearerDescription,
		}}}
		c.DefaultSecurity = []map[string][]string{{bearer: {}}}
		c.CommonResponses = map[int]spec.Response{http.StatusUnauthorized: {ResponseProps: spec.ResponseProps{Description: unauthorized}}}
		return c
	}
	s.v3 = forAWhile(func() *common.OpenAPIV3Config {
		c := genericapiserver.DefaultOpenAPIV3Config(definitions, apiopenapi.NewDefinitionNamer())
		c.GetDefinitionName = name()
		c.Info.Title, c.Info.Version = "Kubernetes", version
		c.SecuritySchemes = spec3.SecuritySchemes{bearer: {SecuritySchemeProps: spec3.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: bearerDescription,
		}}}
		c.CommonResponses = map[int]*spec3.Response{http.StatusUnauthorized: {ResponseProps: spec3.ResponseProps{Description: unauthorized}}}
		c.Definitions = definitions(func(n string) spec.Ref {
			defined, _ := c.GetDefinitionName(n)
			return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(defined))
		})
		return c
	})
	return s
}

// keptFor is how long definitions are kept that were made. They are asked for
// by each group's first write and first document, many at once in a start, then
// seldom: to make them takes some milliseconds, to keep them 4 MB.
const keptFor = 2 * time.Second

// forAWhile makes a value when it is asked for, and again after keptFor.
func forAWhile[T any](make func() *T) func() *T {
	var mu sync.Mutex
	var made *T
	return func() *T {
		mu.Lock()
		defer mu.Unlock()
		if made == nil {
			made = make()
			time.AfterFunc(keptFor, func() {
				mu.Lock()
				defer mu.Unlock()
				made = nil
			})
		}
		return made
	}
}

// definitions are of the built-in kinds and of CustomResourceDefinition.
func definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	all := GetOpenAPIDefinitions(ref)
	for name, d := range apiextensions.GetOpenAPIDefinitions(ref) {
		if _, ok := all[name]; !ok {
			all[name] = d
		}
	}
	return all
}

// external leaves the internal version out of what clients read: our types are
// registered under it as well.
func external(name string, x spec.Extensions) (string, spec.Extensions) {
	const key = "x-kubernetes-group-version-kind"
	kinds, ok := x[key].([]any)
	if !ok {
		return name, x
	}
	var kept []any
	for _, k := range kinds {
		if m, ok := k.(map[string]any); ok && m["version"] == runtime.APIVersionInternal {
			continue
		}
		kept = append(kept, k)
	}
	out := spec.Extensions{}
	for k, v := range x {
		out[k] = v
	}
	out[key] = kept
	return name, out
}

// Serve installs /openapi/v2 and /openapi/v3 over the routes of services,
// which may still grow, and gives the v3 service so that custom resources can
// be added. complete gives a service with all routes that a document tells of,
// custom what /openapi/v2 tells of custom resources.
func (s *Spec) Serve(mux common.PathHandler, v3mux common.PathHandlerByGroupVersion, services func() []*restful.WebService, complete func(*restful.WebService) *restful.WebService, custom Custom) *handler3.OpenAPIService {
	v3 := handler3.NewOpenAPIService()
	for _, ws := range services() {
		if path := ws.RootPath(); !strings.HasPrefix(path, "/api") && path != "/version" && !strings.Contains(path, "openid") {
			continue
		}
		path := strings.TrimPrefix(ws.RootPath(), "/")
		v3.UpdateGroupVersionLazy(path, cached.Once(cached.Func(func() (*spec3.OpenAPI, string, error) {
			doc, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{complete(ws)}), s.build3())
			return doc, s.version + "/" + path, err
		})))
	}
	v3.RegisterOpenAPIV3VersionedService("/openapi/v3", strict{v3mux}) //nolint:errcheck // its error is always nil
	builtIn := sync.OnceValues(func() (*spec.Swagger, error) {
		var all []*restful.WebService
		for _, ws := range services() {
			all = append(all, complete(ws))
		}
		doc, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(all), s.v2())
		if err != nil {
			return nil, err
		}
		doc.Definitions = handler.PruneDefaults(doc.Definitions)
		return doc, nil
	})
	v2 := handler.NewOpenAPIServiceLazy(&merged{builtIn: builtIn, custom: custom})
	v2.RegisterOpenAPIVersionedService("/openapi/v2", mux)
	return v3
}

// Custom gives what there is of custom resources to merge, and a tag that is
// another one when that has changed.
type Custom func() (tag string, parts func() []*spec.Swagger)

// merged is the document of all resources, made when one is asked for whose
// custom ones have changed.
type merged struct {
	builtIn func() (*spec.Swagger, error)
	custom  Custom

	mu  sync.Mutex
	tag string
	doc *spec.Swagger
}

// Get implements cached.Value.
func (m *merged) Get() (*spec.Swagger, string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	tag, parts := m.custom()
	if m.doc != nil && m.tag == tag {
		return m.doc, m.tag, nil
	}
	doc, err := m.builtIn()
	if err != nil {
		return nil, "", err
	}
	if doc, err = crdbuilder.MergeSpecs(doc, parts()...); err != nil {
		return nil, "", err
	}
	m.tag, m.doc = tag, doc
	return doc, tag, nil
}

// TypeConverter gives what server-side apply merges objects of these Go types
// with. It is built at the first apply, once for all servers of the process.
func (s *Spec) TypeConverter(samples ...runtime.Object) managedfields.TypeConverter {
	var names []string
	for _, o := range samples {
		names = append(names, util.GetCanonicalTypeName(o))
	}
	slices.Sort(names)
	c, _ := s.converters.LoadOrStore(strings.Join(names, ","), s.newConverter(names))
	return c.(*converter)
}

func (s *Spec) newConverter(names []string) *converter {
	return &converter{build: sync.OnceValues(func() (managedfields.TypeConverter, error) {
		schemas, err := builder3.BuildOpenAPIDefinitionsForResources(s.build3(), names...)
		if err != nil {
			return nil, err
		}
		return managedfields.NewTypeConverter(schemas, false)
	})}
}
