package apiserver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/endpoints/request"
)

func TestRoutesAreThoseOfTheLibraryAlsoWhenRemembered(t *testing.T) {
	ws := new(restful.WebService)
	ws.Path("/api/v1")
	for _, r := range []*restful.RouteBuilder{
		ws.GET("/namespaces/{namespace}/pods").Operation("list"),
		ws.GET("/namespaces/{namespace}/pods/{name}").Operation("get"),
		ws.DELETE("/namespaces/{namespace}/pods/{name}").Operation("delete"),
		ws.PATCH("/namespaces/{namespace}/pods/{name}").Operation("patch").Consumes("application/apply-patch+yaml"),
		ws.GET("/namespaces/{namespace}/pods/{name}/log").Operation("log").Produces("text/plain"),
		ws.GET("/namespaces/{namespace}/pods/{name}/proxy").Operation("proxy"),
		ws.GET("/namespaces/{namespace}/pods/{name}/proxy/{path:*}").Operation("proxy path"),
		ws.GET("/watch/namespaces/{namespace}/pods").Operation("watch list"),
		ws.GET("/pods").Operation("list everywhere"),
	} {
		ws.Route(r.To(func(*restful.Request, *restful.Response) {}))
	}
	infos := &request.RequestInfoFactory{APIPrefixes: sets.NewString("api", "apis"), GrouplessAPIPrefixes: sets.NewString("api")}
	asked := func(method, path, accept, contentType string) *http.Request {
		req := httptest.NewRequestWithContext(context.Background(), method, path, nil)
		req.Header.Set("Accept", accept)
		req.Header.Set("Content-Type", contentType)
		info, err := infos.NewRequestInfo(req)
		if err != nil {
			t.Fatal(err)
		}
		return req.WithContext(request.WithRequestInfo(req.Context(), info))
	}
	r := new(router)
	for range 2 { // found, and remembered
		for _, path := range []string{
			"pods", "pods/", "pods/a", "pods/b", "pods/a/log", "pods/a/proxy", "pods/a/proxy/", "pods/a/proxy/x", "pods/a/proxy/x/y", "pods/a/nothing", "pods//", "pods//log", "pods/a//",
		} {
			for _, method := range []string{"GET", "DELETE", "PATCH", "POST"} {
				for _, accept := range []string{"*/*", "text/plain", "image/png"} {
					for _, content := range []string{"", "application/json", "application/apply-patch+yaml"} {
						for _, prefix := range []string{"/api/v1/namespaces/x/", "/api/v1/watch/namespaces/x/", "/api/v1/", "/api/v1/namespaces//"} {
							req := asked(method, prefix+path, accept, content)
							_, want, wantErr := restful.CurlyRouter{}.SelectRoute([]*restful.WebService{ws}, req)
							_, got, err := r.SelectRoute([]*restful.WebService{ws}, req)
							if (err == nil) != (wantErr == nil) || err == nil && got.Operation != want.Operation {
								t.Fatalf("%s %s as %q, sent %q: got %v, %v; want %v, %v", method, prefix+path, accept, content, got, err, want, wantErr)
							}
						}
					}
				}
			}
		}
	}
	for n := range 10 * rememberedRoutes {
		if _, _, err := r.SelectRoute([]*restful.WebService{ws}, asked("GET", "/api/v1/pods", "*/*;q=0."+strconv.Itoa(n), "")); err != nil {
			t.Fatal(err)
		}
	}
	if n := r.size.Load(); n > rememberedRoutes {
		t.Errorf("remembers %d", n)
	}
}
