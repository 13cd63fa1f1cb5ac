package apiserver

import (
	"net/http"
	"path"
	"slices"

	genericroutes "k8s.io/apiserver/pkg/server/routes"
)

// index answers / with all paths that there are.
func (s *Server) index(next http.Handler) http.Handler {
	list := genericroutes.IndexLister{StatusCode: http.StatusOK, PathProvider: listed{s}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" || r.URL.Path == "/index.html" {
			list.ServeHTTP(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// listed are the server's own paths, which the library lists, and those of groups
// of custom resources and of extension servers, which come and go.
type listed struct{ *Server }

// ListedPaths implements genericroutes.ListedPathProvider.
func (l listed) ListedPaths() []string {
	out := l.generic.ListedPaths()
	later := l.aggregator.Paths()
	for group := range l.crd.Documents() {
		later = append(later, "/"+group)
	}
	for _, p := range later {
		out = append(out, p, path.Dir(p))
	}
	slices.Sort(out)
	return slices.Compact(out)
}
