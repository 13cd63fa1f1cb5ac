package openapi

import (
	"net/http"

	"k8s.io/kube-openapi/pkg/common"
)

// strict answers that a document is not found, where the library's handler
// answers nothing at all.
type strict struct {
	common.PathHandlerByGroupVersion
}

// HandlePrefix implements common.PathHandlerByGroupVersion.
func (s strict) HandlePrefix(path string, h http.Handler) {
	s.PathHandlerByGroupVersion.HandlePrefix(path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &answered{ResponseWriter: w}
		h.ServeHTTP(a, r)
		if !a.is {
			w.Header().Del("Vary") // of what it would have answered
			w.WriteHeader(http.StatusNotFound)
		}
	}))
}

// answered notes whether there was an answer.
type answered struct {
	http.ResponseWriter
	is bool
}

func (a *answered) WriteHeader(code int) {
	a.is = true
	a.ResponseWriter.WriteHeader(code)
}

func (a *answered) Write(b []byte) (int, error) {
	a.is = true
	return a.ResponseWriter.Write(b)
}
