package apiserver

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apiserver/pkg/endpoints/request"
)

// router finds the routes of one resource. Requests of one form have the same
// one, so it is looked for once: that copies each route that could be meant, 4 kB
// for a request that takes 60 kB in all.
type router struct {
	restful.CurlyRouter
	found sync.Map // form → *restful.Route
	forms atomic.Int32
}

// form is what the route of a request for a resource depends on.
type form struct {
	method, verb, subresource string
	named, namespaced         bool
	slashes                   int    // of the path
	accept, content           string // the headers
}

const (
	// formsKept bounds what clients can have a router remember; kubectl and
	// controllers use some twenty forms of a resource.
	formsKept = 128
	// headerKept is how long a header may be that is remembered.
	headerKept = 512
)

// SelectRoute implements restful.RouteSelector.
func (r *router) SelectRoute(services []*restful.WebService, req *http.Request) (*restful.WebService, *restful.Route, error) {
	f, ok := formOf(req)
	if !ok {
		return r.CurlyRouter.SelectRoute(services, req)
	}
	if known, ok := r.found.Load(f); ok {
		return services[0], known.(*restful.Route), nil
	}
	service, route, err := r.CurlyRouter.SelectRoute(services, req)
	if err == nil && service == services[0] && r.forms.Load() < formsKept {
		r.forms.Add(1)
		r.found.Store(f, route)
	}
	return service, route, err
}

// formOf gives none of requests that are passed on, whose paths go on for as
// long as the client likes.
func formOf(req *http.Request) (form, bool) {
	info, ok := request.RequestInfoFrom(req.Context())
	accept, content := req.Header.Values("Accept"), req.Header.Values("Content-Type")
	if !ok || info.Subresource == "proxy" || len(accept) > 1 || len(content) > 1 {
		return form{}, false
	}
	f := form{
		method: req.Method, verb: info.Verb, subresource: info.Subresource,
		named: info.Name != "", namespaced: info.Namespace != "",
		slashes: strings.Count(req.URL.Path, "/"),
	}
	if len(accept) == 1 {
		f.accept = accept[0]
	}
	if len(content) == 1 {
		f.content = content[0]
	}
	return f, len(f.accept)+len(f.content) <= headerKept
}
