package apiserver_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"

	"github.com/skiffcluster/skiff/apiserver"
)

// podRoutes are some of the routes of pods.
func podRoutes() []*restful.WebService {
	ws := (&restful.WebService{}).Path("/api/v1").Consumes("*/*").Produces("application/json", "application/vnd.kubernetes.protobuf")
	answer := func(*restful.Request, *restful.Response) {}
	const all, one = "/namespaces/{namespace}/pods", "/namespaces/{namespace}/pods/{name}"
	for _, b := range []*restful.RouteBuilder{
		ws.GET("/pods"), ws.GET("/watch/pods"), ws.GET("/watch" + all), ws.GET("/watch" + one),
		ws.GET(all), ws.POST(all), ws.DELETE(all), ws.GET(one), ws.PUT(one), ws.DELETE(one),
		ws.PATCH(one).Consumes("application/json-patch+json", "application/merge-patch+json"),
		ws.GET(one + "/log").Produces("text/plain"), ws.GET(one + "/status"), ws.POST(one + "/exec"),
		ws.GET(one + "/proxy"), ws.GET(one + "/proxy/{path:*}"), ws.POST(one + "/proxy/{path:*}"),
	} {
		ws.Route(b.To(answer))
	}
	return []*restful.WebService{ws}
}

// What is remembered is what go-restful finds, for each form of a request.
func TestRouterFindsTheSameRouteEachTime(t *testing.T) {
	t.Parallel()
	services, r := podRoutes(), apiserver.NewRouter()
	infos := &request.RequestInfoFactory{APIPrefixes: sets.New("api", "apis"), GrouplessAPIPrefixes: sets.New("api")}
	const json, patch = "application/json", "application/merge-patch+json"
	for range 2 {
		for _, c := range []struct{ method, path, accept, content string }{
			{"GET", "/api/v1/pods", "", ""},
			{"GET", "/api/v1/pods?watch=true", json, ""},
			{"GET", "/api/v1/watch/pods", json, ""},
			{"GET", "/api/v1/watch/namespaces/a/pods", json, ""},
			{"GET", "/api/v1/watch/namespaces/a/pods/b", json, ""},
			{"GET", "/api/v1/namespaces/a/pods", json, ""},
			{"GET", "/api/v1/namespaces/a/pods/", json, ""},
			{"GET", "/api/v1/namespaces/b/pods/c", json, ""},
			{"GET", "/api/v1/namespaces/b/pods//c", json, ""},
			{"GET", "/api/v1/namespaces/b/pods/c", "text/html", ""},
			{"GET", "/api/v1/namespaces/b/pods/c", "application/json;as=Table,*/*", ""},
			{"GET", "/api/v1/namespaces/b/pods/c/log", json, ""},
			{"GET", "/api/v1/namespaces/b/pods/c/log", "*/*", ""},
			{"GET", "/api/v1/namespaces/b/pods/c/log/more", "*/*", ""},
			{"GET", "/api/v1/namespaces/b/pods/c/status", "*/*", ""},
			{"GET", "/api/v1/namespaces/b/pods/c/proxy", "*/*", ""},
			{"GET", "/api/v1/namespaces/b/pods/c/proxy/d/e/f", "*/*", ""},
			{"POST", "/api/v1/namespaces/b/pods/c/proxy/d", "*/*", "text/plain"},
			{"POST", "/api/v1/namespaces/b/pods/c/exec", "", ""},
			{"POST", "/api/v1/namespaces/b/pods", json, json},
			{"POST", "/api/v1/namespaces/b/pods/c", json, json},
			{"DELETE", "/api/v1/namespaces/b/pods", json, ""},
			{"DELETE", "/api/v1/namespaces/b/pods/c", json, json},
			{"PATCH", "/api/v1/namespaces/b/pods/c", json, patch},
			{"PATCH", "/api/v1/namespaces/b/pods/c", json, json},
			{"PATCH", "/api/v1/namespaces/b/pods/c", json, ""},
		} {
			req := httptest.NewRequest(c.method, c.path, http.NoBody)
			for header, value := range map[string]string{"Accept": c.accept, "Content-Type": c.content} {
				if value != "" {
					req.Header.Set(header, value)
				}
			}
			info, err := infos.NewRequestInfo(req)
			if err != nil {
				t.Fatal(err)
			}
			req = req.WithContext(request.WithRequestInfo(req.Context(), info))
			_, want, wantErr := restful.CurlyRouter{}.SelectRoute(services, req)
			_, got, err := r.SelectRoute(services, req)
			if (err == nil) != (wantErr == nil) || err != nil && err.Error() != wantErr.Error() {
				t.Errorf("%v: %v, want %v", c, err, wantErr)
			}
			if err == nil && wantErr == nil && (got.Path != want.Path || got.Method != want.Method) {
				t.Errorf("%v: %s %s, want %s %s", c, got.Method, got.Path, want.Method, want.Path)
			}
		}
	}
}
