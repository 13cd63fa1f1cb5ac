package apiserver

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/emicklei/go-restful/v3"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/apiserver/pkg/endpoints/handlers/responsewriters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericapiserver "k8s.io/apiserver/pkg/server"

	"github.com/skiffcluster/skiff/apiserver/inprocess"
)

// routes are those of each resource. They are made at its first request: each
// route has a regular expression, and all of them together are a fifth of a
// start and 10 MB, for kinds that most clusters never use. To look for a
// request's route among those of its resource only is cheaper too.
type routes map[schema.GroupVersionResource]func() (*restful.Container, error)

// handler answers requests for resources that are served. All others are
// next's.
func (r routes) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		info, ok := request.RequestInfoFrom(req.Context())
		if !ok || !info.IsResourceRequest {
			next.ServeHTTP(w, req)
			return
		}
		resource := r[schema.GroupVersionResource{Group: info.APIGroup, Version: info.APIVersion, Resource: info.Resource}]
		if resource == nil {
			next.ServeHTTP(w, req)
			return
		}
		container, err := resource()
		if err != nil {
			responsewriters.InternalError(w, req, err)
			return
		}
		container.Dispatch(w, req)
	})
}

// addRoutes adds those of a group's resources.
func (i *installer) addRoutes(g group) {
	types := sync.OnceValue(func() managedfields.TypeConverter { return i.typeConverter(g) })
	for resource, storage := range g.resources() {
		i.routes[g.gv.WithResource(resource)] = sync.OnceValues(func() (*restful.Container, error) {
			container := genericapiserver.NewAPIServerHandler(resource, i.codecs, func(h http.Handler) http.Handler { return h }, nil).GoRestfulContainer
			container.Router(new(router))
			if _, _, err := i.version(g, storage, types()).InstallREST(container); err != nil {
				return nil, fmt.Errorf("routes of %s: %w", g.gv.WithResource(resource), err)
			}
			forgetDocuments(container)
			return container, nil
		})
	}
}

// forgetDocuments drops what routes say of themselves, half of their memory:
// documents are made from routes of their own, by complete.
func forgetDocuments(c *restful.Container) {
	for _, ws := range c.RegisteredWebServices() {
		routes := ws.Routes() // its own, not copies
		for n := range routes {
			r := &routes[n]
			r.ParameterDocs, r.ResponseErrors, r.DefaultResponse, r.Metadata = nil, nil, nil, nil
			r.ReadSample, r.WriteSample, r.WriteSamples = nil, nil, nil
		}
	}
}

// complete gives a service of the server with all its routes, of which
// documents tell.
func (i *installer) complete(ws *restful.WebService) *restful.WebService {
	g, ok := i.groups[ws.RootPath()]
	if !ok {
		return ws
	}
	all := restful.NewContainer()
	if _, _, err := i.version(g, g.storage, i.typeConverter(g)).InstallREST(all); err != nil {
		return ws // describe has found none
	}
	return all.RegisteredWebServices()[0]
}

// description is what discovery says of a group's resources.
type description struct {
	resources  []metav1.APIResource
	aggregated []apidiscoveryv2.APIResourceDiscovery
}

// descriptions are those of all groups that servers of this process have
// served, by what they serve of it. The routes that they are read off are costly
// to make.
var descriptions sync.Map

func (i *installer) describe(g group) (description, error) {
	key := g.root() + " " + strings.Join(slices.Sorted(maps.Keys(g.storage)), " ")
	if d, ok := descriptions.Load(key); ok {
		return d.(description), nil
	}
	container := restful.NewContainer()
	aggregated, _, err := i.version(g, g.storage, i.typeConverter(g)).InstallREST(container)
	if err != nil {
		return description{}, err
	}
	resources, err := ask(container, g.root())
	if err != nil {
		return description{}, fmt.Errorf("ask for the resources: %w", err)
	}
	d := description{resources, aggregated}
	descriptions.Store(key, d)
	return d, nil
}

// ask gets the list of a group's resources from its routes.
func ask(container *restful.Container, root string) ([]metav1.APIResource, error) {
	container.Router(restful.CurlyRouter{})
	transport := inprocess.New()
	transport.Serve(http.HandlerFunc(container.Dispatch))
	defer transport.Close()
	req, err := http.NewRequest(http.MethodGet, "http://in-process"+root, http.NoBody) //nolint:noctx // it is answered at once
	if err != nil {
		return nil, err
	}
	answer, err := transport.As(self).RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	list := &metav1.APIResourceList{}
	if err := json.NewDecoder(answer.Body).Decode(list); err != nil {
		return nil, err
	}
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %s", answer.Status)
	}
	return list.APIResources, nil
}
