package apiserver

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// router finds the route of a request for one resource. To look for it takes a
// copy of each route that the path could mean, and most requests are alike,
// so what was found is remembered.
type router struct {
	restful.CurlyRouter
	found sync.Map // alike → found
	size  atomic.Int32
}

// alike is all that the choice of a resource's route depends on: the path's form
// and what content is sent and wanted.
type alike struct {
	method, verb, subresource string
	namespaced, open          bool // open: ends with a slash
	slashes                   int
	accept, contentType       string
}

type found struct {
	service *restful.WebService
	route   *restful.Route
}

// rememberedRoutes bounds what clients can have remembered by sending ever
// other headers.
const rememberedRoutes = 64

// SelectRoute implements restful.RouteSelector.
func (r *router) SelectRoute(services []*restful.WebService, req *http.Request) (*restful.WebService, *restful.Route, error) {
	info, ok := request.RequestInfoFrom(req.Context())
	if !ok || strings.Contains(req.URL.Path, "//") { // with an empty name, which is none to the one and a name to the other
		return r.CurlyRouter.SelectRoute(services, req)
	}
	key := alike{
		method: req.Method, verb: info.Verb, subresource: info.Subresource, namespaced: info.Namespace != "",
		open: strings.HasSuffix(req.URL.Path, "/"), slashes: strings.Count(req.URL.Path, "/"), accept: req.Header.Get("Accept"), contentType: req.Header.Get("Content-Type"),
	}
	if f, ok := r.found.Load(key); ok {
		return f.(found).service, f.(found).route, nil
	}
	service, route, err := r.CurlyRouter.SelectRoute(services, req)
	if err == nil && r.size.Load() < rememberedRoutes {
		if _, known := r.found.LoadOrStore(key, found{service, route}); !known {
			r.size.Add(1)
		}
	}
	return service, route, err
}
